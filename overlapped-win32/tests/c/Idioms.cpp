// What C++ programs for Windows do besides, and Microsoft's compiler lets pass.
#include <iostream>
#include <string>
#include <limits>
#include <algorithm>
#include "WINSOCK2.H"
#include <windows.h>
#include <tchar.h>
#include <process.h>
using namespace std;

static int failures;
#define IS(x) ((x) ? 0 : (printf("line %d: %s\n", __LINE__, #x), failures++))

interface IShape { virtual int Area() = 0; };
class CSquare : public IShape { int m_n; public: CSquare(int n) : m_n(n) {} int __stdcall Area() { return m_n * m_n; } };

static LONG g_count = 0;
static unsigned __stdcall Thread(LPVOID p) { InterlockedExchangeAdd(&g_count, (LONG)(DWORD_PTR)p); _endthreadex(3); return 0; }
static int Sum(char *text) { int n = 0; while (*text) n += *text++; return n; }

static int Tries()
{
	int trail = 0;
	__try {
		for (int i = 0; ; i++)
			if (i == 3)
				__leave;
		trail = 99;
	} __finally {
		trail++;
	}
	return trail;
}

int _tmain(int argc, _TCHAR* argv[])
{
	WSADATA wsa;
	IS(WSAStartup(MAKEWORD(2, 2), &wsa) == 0);
	CSquare square(4);
	IShape *shape = &square;
	IS(shape->Area() == 16);
	IS(max(3, 5) == 5 && min(3u, (unsigned)5) == 3 && std::max<int>(1, 2) == 2);
	IS(numeric_limits<int>::max() == INT_MAX);
	IS(Sum("AB") == 131); // a literal to a char *
	IS(Tries() == 1);

	HANDLE h = (HANDLE)_beginthreadex(NULL, 0, Thread, (LPVOID)5, 0, NULL);
	IS(WaitForSingleObject(h, 10000) == WAIT_OBJECT_0);
	DWORD code = 0;
	IS(GetExitCodeThread(h, &code) && code == 3 && g_count == 5);
	CloseHandle(h);

	char text[16];
	strcpy_s(text, "short");
	strcat_s(text, "er");
	IS(string(text) == "shorter" && sprintf_s(text, "%d", 12) == 2);
	IS(_countof(text) == 16);
	printf("%I64u\n", (unsigned __int64)sizeof(text));

	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	unsigned long nonblocking = 1;
	IS(ioctlsocket(s, FIONBIO, &nonblocking) == 0);
	u_long waiting = 77;
	IS(ioctlsocket(s, FIONREAD, &waiting) == 0 || WSAGetLastError() != 0);
	struct sockaddr_in address = {};
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = inet_addr("127.0.0.1");
	IS(::bind(s, (SOCKADDR *)&address, sizeof(address)) == 0);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(s, &set);
	timeval time = { 0, 1000 };
	IS(select(0, NULL, NULL, &set, &time) >= 0);
	IS((INT_PTR)(int)s == (INT_PTR)s && (s & 3) == 0); // sockets are kept in ints
	closesocket(s);
	IS(closesocket(s) == SOCKET_ERROR && WSAGetLastError() == WSAENOTSOCK);
	WSACleanup();
	if (failures == 0)
		cout << "OK" << endl;
	return failures != 0;
}
