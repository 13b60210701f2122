// Chat: a thread for each client, and a CRITICAL_SECTION around the list of all.
#include <winsock2.h>
#include <windows.h>
#include <iostream>
#include <list>
#include <string>
#include <algorithm>
#pragma comment(lib, "ws2_32.lib")
using namespace std;

CRITICAL_SECTION g_cs;
list<SOCKET> g_clients;

class CLock
{
public:
	CLock() { EnterCriticalSection(&g_cs); }
	~CLock() { LeaveCriticalSection(&g_cs); }
};

void Broadcast(const char *pData, int nLength)
{
	CLock lock;
	for (list<SOCKET>::iterator it = g_clients.begin(); it != g_clients.end(); ++it)
		send(*it, pData, nLength, 0);
}

DWORD WINAPI ClientThread(LPVOID lpParam)
{
	SOCKET s = (SOCKET)lpParam;
	char buf[512];
	int n;
	while ((n = recv(s, buf, sizeof(buf), 0)) > 0)
		Broadcast(buf, n);
	{
		CLock lock;
		g_clients.erase(find(g_clients.begin(), g_clients.end(), s));
	}
	shutdown(s, SD_BOTH);
	closesocket(s);
	return 0;
}

int main(int argc, char *argv[])
{
	WSADATA wsa;
	if (WSAStartup(MAKEWORD(2, 2), &wsa)) return 1;
	InitializeCriticalSectionAndSpinCount(&g_cs, 4000);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	sockaddr_in addr;
	memset(&addr, 0, sizeof(addr));
	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = inet_addr("127.0.0.1");
	addr.sin_port = htons(argc > 1 ? atoi(argv[1]) : 9190);
	if (::bind(s, (sockaddr *)&addr, sizeof(addr)) == SOCKET_ERROR || listen(s, 10) == SOCKET_ERROR)
	{
		cout << "bind or listen: " << WSAGetLastError() << endl;
		return 1;
	}
	cout << "port " << ntohs(addr.sin_port) << ", thread " << GetCurrentThreadId() << endl;
	while (true)
	{
		SOCKET c = accept(s, NULL, NULL);
		if (c == INVALID_SOCKET) break;
		{
			CLock lock;
			g_clients.push_back(c);
		}
		DWORD dwId;
		HANDLE h = CreateThread(NULL, 0, ClientThread, (LPVOID)c, 0, &dwId);
		if (h) CloseHandle(h);
	}
	DeleteCriticalSection(&g_cs);
	return 0;
}
