/* An overlapped sender and an overlapped receiver that wait for events, in two threads of one program. */
#include <stdio.h>
#include <winsock2.h>
#include <process.h>
#pragma comment(lib, "ws2_32.lib")

#define TOTAL (4 * 1024 * 1024)

static SOCKADDR_IN addr;
static HANDLE ready;

static unsigned WINAPI Receiver(void *arg)
{
	SOCKET lisn = socket(AF_INET, SOCK_STREAM, 0), sock;
	int len = sizeof(addr);
	char *buf = malloc(TOTAL);
	DWORD got = 0, flags = 0, bytes;
	WSABUF dataBuf;
	WSAOVERLAPPED overlapped;
	unsigned wrong = 0, i;

	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bind(lisn, (SOCKADDR *)&addr, sizeof(addr));
	listen(lisn, 1);
	getsockname(lisn, (SOCKADDR *)&addr, &len);
	SetEvent(ready);
	sock = accept(lisn, NULL, NULL);

	memset(&overlapped, 0, sizeof(overlapped));
	overlapped.hEvent = WSACreateEvent();
	while (got < TOTAL)
	{
		dataBuf.buf = buf + got;
		dataBuf.len = min(TOTAL - got, 100000);
		if (WSARecv(sock, &dataBuf, 1, &bytes, &flags, &overlapped, NULL) == SOCKET_ERROR)
		{
			if (WSAGetLastError() != WSA_IO_PENDING)
				return 1;
			WSAWaitForMultipleEvents(1, &overlapped.hEvent, TRUE, WSA_INFINITE, FALSE);
			if (!WSAGetOverlappedResult(sock, &overlapped, &bytes, FALSE, &flags))
				return 2;
		}
		if (bytes == 0)
			return 3;
		got += bytes;
	}
	for (i = 0; i < TOTAL; i++)
		wrong += buf[i] != (char)(i * 7 + (i >> 11));
	WSACloseEvent(overlapped.hEvent);
	closesocket(sock);
	closesocket(lisn);
	free(buf);
	return wrong ? 4 : 42;
}

int main(void)
{
	WSADATA wsa;
	HANDLE thread;
	SOCKET sock;
	char *buf = malloc(TOTAL);
	WSABUF dataBuf;
	WSAOVERLAPPED overlapped = {0};
	DWORD sent = 0, flags, code;
	int i;

	WSAStartup(MAKEWORD(2, 2), &wsa);
	ready = CreateEvent(NULL, FALSE, FALSE, NULL);
	thread = (HANDLE)_beginthreadex(NULL, 0, Receiver, NULL, 0, NULL);
	WaitForSingleObject(ready, INFINITE);

	for (i = 0; i < TOTAL; i++)
		buf[i] = (char)(i * 7 + (i >> 11));
	sock = WSASocketA(AF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	if (connect(sock, (SOCKADDR *)&addr, sizeof(addr)) == SOCKET_ERROR)
		return printf("connect: %d\n", WSAGetLastError()), 1;
	overlapped.hEvent = WSACreateEvent();
	dataBuf.buf = buf;
	dataBuf.len = TOTAL;
	if (WSASend(sock, &dataBuf, 1, &sent, 0, &overlapped, NULL) == SOCKET_ERROR)
	{
		if (WSAGetLastError() == WSA_IO_PENDING)
		{
			puts("Background data send");
			WSAWaitForMultipleEvents(1, &overlapped.hEvent, TRUE, WSA_INFINITE, FALSE);
			WSAGetOverlappedResult(sock, &overlapped, &sent, FALSE, &flags);
		}
		else
			return printf("WSASend: %d\n", WSAGetLastError()), 1;
	}
	printf("sent %lu\n", sent);
	if (sent != TOTAL)
		return 1;
	if (WaitForSingleObject(thread, 20000) != WAIT_OBJECT_0)
		return puts("the receiver does not end"), 1;
	GetExitCodeThread(thread, &code);
	CloseHandle(thread);
	CloseHandle(ready);
	WSACloseEvent(overlapped.hEvent);
	closesocket(sock);
	WSACleanup();
	free(buf);
	puts(code == 42 ? "OK" : "wrong");
	return code == 42 ? 0 : (int)code;
}
