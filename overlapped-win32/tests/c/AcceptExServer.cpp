// Echo server with accepts that are posted beforehand: AcceptEx by its GUID, with room for the first data, and
// one class for each operation, derived from OVERLAPPED. The port's workers do everything.
//
// Usage: AcceptExServer [port]
#include "..\c\Shared.h"
#include <Mswsock.h>
#include <vector>
#include <iostream>
using namespace std;

#pragma comment(lib, "Ws2_32.lib")
#pragma warning(disable: 4996)

struct IOperation { virtual void Completed(BOOL ok, DWORD bytes) = 0; virtual ~IOperation() {} };

HANDLE g_hPort;
SOCKET g_listener;
LPFN_ACCEPTEX lpfnAcceptEx = NULL;
LPFN_GETACCEPTEXSOCKADDRS lpfnGetAcceptExSockaddrs = NULL;

class COperation : public OVERLAPPED, public IOperation
{
public:
	COperation() { ZeroMemory(static_cast<OVERLAPPED*>(this), sizeof(OVERLAPPED)); }
	void Again() { Internal = InternalHigh = 0; Offset = OffsetHigh = 0; hEvent = NULL; }
};

class CConnection : public COperation
{
	SOCKET m_socket;
	bool m_sending;
	DWORD m_length;
	char m_buffer[4096];
public:
	CConnection(SOCKET s) : m_socket(s), m_sending(false), m_length(0) {}
	~CConnection() { closesocket(m_socket); }

	void Begin(const char *first, DWORD length)
	{
		memcpy(m_buffer, first, length);
		Completed(TRUE, length);
	}
	virtual void Completed(BOOL ok, DWORD bytes)
	{
		if (!ok || bytes == 0) { delete this; return; }
		m_length = bytes;
		m_sending = !m_sending;
		Again();
		WSABUF buffer;
		DWORD flags = 0;
		buffer.buf = m_buffer;
		buffer.len = m_sending ? m_length : (DWORD)sizeof(m_buffer);
		int result = m_sending ? WSASend(m_socket, &buffer, 1, NULL, 0, this, NULL) : WSARecv(m_socket, &buffer, 1, NULL, &flags, this, NULL);
		if (result == SOCKET_ERROR && WSAGetLastError() != ERROR_IO_PENDING)
			delete this;
	}
};

class CAccept : public COperation
{
	SOCKET m_socket;
	enum { ADDRESS = sizeof(SOCKADDR_IN) + 16, ROOM = 1024 };
	char m_output[ROOM + 2 * ADDRESS];
public:
	void Post()
	{
		m_socket = WSASocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
		DWORD bytes = 0;
		Again();
		if (!lpfnAcceptEx(g_listener, m_socket, m_output, ROOM, ADDRESS, ADDRESS, &bytes, this) && WSAGetLastError() != ERROR_IO_PENDING)
			cerr << "AcceptEx: " << WSAGetLastError() << endl;
	}
	virtual void Completed(BOOL ok, DWORD bytes)
	{
		SOCKET accepted = m_socket;
		if (!ok || setsockopt(accepted, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&g_listener, sizeof(g_listener)) != 0
			|| bytes == 0 || CreateIoCompletionPort((HANDLE)accepted, g_hPort, 0, 0) != g_hPort)
		{
			closesocket(accepted);
			Post();
			return;
		}
		SOCKADDR *local, *remote;
		int localLength = 0, remoteLength = 0;
		lpfnGetAcceptExSockaddrs(m_output, ROOM, ADDRESS, ADDRESS, &local, &localLength, &remote, &remoteLength);
		if (remoteLength != sizeof(SOCKADDR_IN) || ((SOCKADDR_IN *)remote)->sin_addr.S_un.S_un_b.s_b1 != 127)
			cerr << "a strange address" << endl;
		CConnection *connection = new CConnection(accepted);
		connection->Begin(m_output, bytes);
		Post();
	}
};

static unsigned __stdcall Worker(void *)
{
	OVERLAPPED_ENTRY entries[16];
	ULONG count;
	while (GetQueuedCompletionStatusEx(g_hPort, entries, _countof(entries), &count, INFINITE, FALSE))
		for (ULONG i = 0; i < count; i++)
		{
			if (entries[i].lpOverlapped == NULL)
				return 0;
			COperation *operation = static_cast<COperation *>(entries[i].lpOverlapped);
			operation->Completed(operation->Internal == 0, entries[i].dwNumberOfBytesTransferred);
		}
	return 1;
}

template <class F> static F Extension(GUID guid)
{
	F function = NULL;
	DWORD bytes;
	if (WSAIoctl(g_listener, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof(guid), &function, sizeof(function), &bytes, NULL, NULL) == SOCKET_ERROR)
	{
		cerr << "no extension: " << WSAGetLastError() << endl;
		exit(1);
	}
	return function;
}

void main(int argc, char *argv[])
{
	WSADATA wsaData;
	WSAStartup(MAKEWORD(2, 2), &wsaData);
	g_hPort = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	g_listener = WSASocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
	SOCKADDR_IN address = { 0 };
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = inet_addr("127.0.0.1");
	address.sin_port = htons(atoi(argc > 1 ? argv[1] : "9190"));
	if (::bind(g_listener, (SOCKADDR *)&address, sizeof(address)) || listen(g_listener, max(200, 5)))
	{
		cerr << "bind or listen: " << WSAGetLastError() << endl;
		exit(1);
	}
	GUID acceptEx = WSAID_ACCEPTEX, addresses = WSAID_GETACCEPTEXSOCKADDRS;
	lpfnAcceptEx = Extension<LPFN_ACCEPTEX>(acceptEx);
	lpfnGetAcceptExSockaddrs = Extension<LPFN_GETACCEPTEXSOCKADDRS>(addresses);
	CreateIoCompletionPort((HANDLE)g_listener, g_hPort, 0, 0);
	for (int i = 0; i < 10; i++)
		(new CAccept)->Post();

	vector<HANDLE> workers;
	for (DWORD i = 0; i < min(4u, (unsigned)MAXIMUM_WAIT_OBJECTS); i++)
		workers.push_back((HANDLE)_beginthreadex(NULL, 0, &Worker, NULL, 0, NULL));
	WaitForMultipleObjects((DWORD)workers.size(), &workers[0], TRUE, INFINITE);
}
