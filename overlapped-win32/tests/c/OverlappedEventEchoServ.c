/*
 * Echo server on the events of overlapped operations: a thread waits for up to 64 of them with
 * WSAWaitForMultipleEvents and asks WSAGetOverlappedResult what became of each. main() accepts; the
 * first event tells the thread that somebody has come.
 *
 * Usage: OverlappedEventEchoServ [port]
 */
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#pragma comment(lib, "ws2_32.lib")

#define BUFSIZE 512

typedef struct tagSOCKETINFO
{
	WSAOVERLAPPED overlapped;
	SOCKET sock;
	char buf[BUFSIZE + 1];
	int recvbytes;
	int sendbytes;
	WSABUF wsabuf;
} SOCKETINFO;

int nTotalSockets = 0;
SOCKETINFO *SocketInfoArray[WSA_MAXIMUM_WAIT_EVENTS];
WSAEVENT EventArray[WSA_MAXIMUM_WAIT_EVENTS];
CRITICAL_SECTION cs;

DWORD WINAPI WorkerThread(LPVOID arg);
BOOL AddSocketInfo(SOCKET sock);
void RemoveSocketInfo(int nIndex);
void err_quit(const char *msg);
void err_display(const char *msg);

static BOOL Start(SOCKETINFO *ptr, BOOL sending)
{
	DWORD bytes, flags = 0;
	int retval;
	if (sending)
	{
		ptr->wsabuf.buf = ptr->buf + ptr->sendbytes;
		ptr->wsabuf.len = ptr->recvbytes - ptr->sendbytes;
		retval = WSASend(ptr->sock, &ptr->wsabuf, 1, &bytes, 0, &ptr->overlapped, NULL);
	}
	else
	{
		ptr->recvbytes = ptr->sendbytes = 0;
		ptr->wsabuf.buf = ptr->buf;
		ptr->wsabuf.len = BUFSIZE;
		retval = WSARecv(ptr->sock, &ptr->wsabuf, 1, &bytes, &flags, &ptr->overlapped, NULL);
	}
	return retval != SOCKET_ERROR || WSAGetLastError() == WSA_IO_PENDING;
}

int main(int argc, char *argv[])
{
	WSADATA wsa;
	SOCKET listen_sock;
	struct sockaddr_in serveraddr;
	WSAEVENT hEvent;
	HANDLE hThread;

	InitializeCriticalSection(&cs);
	if (WSAStartup(MAKEWORD(2, 2), &wsa) != 0)
		return 1;

	listen_sock = socket(AF_INET, SOCK_STREAM, 0);
	if (listen_sock == INVALID_SOCKET) err_quit("socket()");
	memset(&serveraddr, 0, sizeof(serveraddr));
	serveraddr.sin_family = AF_INET;
	serveraddr.sin_addr.s_addr = inet_addr("127.0.0.1");
	serveraddr.sin_port = htons((u_short)atoi(argc > 1 ? argv[1] : "9000"));
	if (bind(listen_sock, (struct sockaddr *)&serveraddr, sizeof(serveraddr)) == SOCKET_ERROR) err_quit("bind()");
	if (listen(listen_sock, SOMAXCONN) == SOCKET_ERROR) err_quit("listen()");

	hEvent = WSACreateEvent();
	if (hEvent == WSA_INVALID_EVENT) err_quit("WSACreateEvent()");
	EventArray[nTotalSockets++] = hEvent;
	hThread = CreateThread(NULL, 0, WorkerThread, NULL, 0, NULL);
	if (hThread == NULL) return 1;
	CloseHandle(hThread);

	while (1)
	{
		struct sockaddr_in clientaddr;
		int addrlen = sizeof(clientaddr);
		SOCKET client_sock = accept(listen_sock, (struct sockaddr *)&clientaddr, &addrlen);
		if (client_sock == INVALID_SOCKET)
		{
			err_display("accept()");
			continue;
		}
		printf("[server] client connected: %s:%d\n", inet_ntoa(clientaddr.sin_addr), ntohs(clientaddr.sin_port));

		EnterCriticalSection(&cs);
		if (AddSocketInfo(client_sock) == FALSE)
		{
			closesocket(client_sock);
			LeaveCriticalSection(&cs);
			continue;
		}
		if (!Start(SocketInfoArray[nTotalSockets - 1], FALSE))
			RemoveSocketInfo(nTotalSockets - 1);
		LeaveCriticalSection(&cs);
		WSASetEvent(EventArray[0]);
	}
	WSACleanup();
	return 0;
}

DWORD WINAPI WorkerThread(LPVOID arg)
{
	(void)arg;
	while (1)
	{
		WSAEVENT events[WSA_MAXIMUM_WAIT_EVENTS];
		SOCKETINFO *ptr;
		DWORD index, cbTransferred, flags, count;

		EnterCriticalSection(&cs);
		count = nTotalSockets;
		memcpy(events, EventArray, sizeof(events));
		LeaveCriticalSection(&cs);

		index = WSAWaitForMultipleEvents(count, events, FALSE, WSA_INFINITE, FALSE);
		if (index == WSA_WAIT_FAILED)
		{
			err_display("WSAWaitForMultipleEvents()");
			continue;
		}
		index -= WSA_WAIT_EVENT_0;
		WSAResetEvent(events[index]);
		if (index == 0)
			continue;

		EnterCriticalSection(&cs);
		ptr = SocketInfoArray[index];
		if (!WSAGetOverlappedResult(ptr->sock, &ptr->overlapped, &cbTransferred, FALSE, &flags) || cbTransferred == 0)
		{
			RemoveSocketInfo(index);
			LeaveCriticalSection(&cs);
			continue;
		}
		if (ptr->recvbytes == 0)
			ptr->recvbytes = cbTransferred;
		else
			ptr->sendbytes += cbTransferred;
		if (!Start(ptr, ptr->recvbytes > ptr->sendbytes))
			RemoveSocketInfo(index);
		LeaveCriticalSection(&cs);
	}
}

BOOL AddSocketInfo(SOCKET sock)
{
	SOCKETINFO *ptr;
	WSAEVENT hEvent;
	if (nTotalSockets >= WSA_MAXIMUM_WAIT_EVENTS) return FALSE;
	ptr = (SOCKETINFO *)malloc(sizeof(SOCKETINFO));
	if (ptr == NULL) return FALSE;
	hEvent = WSACreateEvent();
	if (hEvent == WSA_INVALID_EVENT) return FALSE;
	ZeroMemory(&ptr->overlapped, sizeof(ptr->overlapped));
	ptr->overlapped.hEvent = hEvent;
	ptr->sock = sock;
	ptr->recvbytes = ptr->sendbytes = 0;
	SocketInfoArray[nTotalSockets] = ptr;
	EventArray[nTotalSockets++] = hEvent;
	return TRUE;
}

void RemoveSocketInfo(int nIndex)
{
	SOCKETINFO *ptr = SocketInfoArray[nIndex];
	closesocket(ptr->sock);
	WSACloseEvent(EventArray[nIndex]);
	free(ptr);
	if (nIndex != (nTotalSockets - 1))
	{
		SocketInfoArray[nIndex] = SocketInfoArray[nTotalSockets - 1];
		EventArray[nIndex] = EventArray[nTotalSockets - 1];
	}
	--nTotalSockets;
}

void err_quit(const char *msg)
{
	err_display(msg);
	exit(1);
}

void err_display(const char *msg)
{
	LPVOID lpMsgBuf;
	FormatMessage(
		FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_SYSTEM,
		NULL, WSAGetLastError(),
		MAKELANGID(LANG_NEUTRAL, SUBLANG_DEFAULT),
		(LPTSTR)&lpMsgBuf, 0, NULL);
	printf("[%s] %s", msg, (char *)lpMsgBuf);
	LocalFree(lpMsgBuf);
}
