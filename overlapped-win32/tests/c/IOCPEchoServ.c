/*
 * Echo server on a completion port: main() accepts and blocks, as many workers as there are processors
 * take what has ended. The key of a connection is a SOCKET from malloc(); a structure that begins with the
 * OVERLAPPED carries the buffer.
 *
 * Usage: IOCPEchoServ [port]
 */
#include <stdio.h>
#include <stdlib.h>
#include <process.h>
#include <WinSock2.h>
#include <Windows.h>

#pragma comment(lib, "ws2_32.lib")

#define BUF_SIZE 1024
#define DEFAULT_PORT "9190"
#define READ 1
#define WRITE 2

typedef struct
{
	OVERLAPPED overlapped;
	WSABUF wsaBuf;
	char buffer[BUF_SIZE];
	DWORD sent;
	int rwMode;
} IO_DATA, *LPIO_DATA;

unsigned WINAPI EchoThreadMain(LPVOID pComPort);
void PostRecv(SOCKET sock, LPIO_DATA ioInfo);
void CloseClient(SOCKET *key, LPIO_DATA ioInfo);
void ErrorHandling(char *message);

int main(int argc, char *argv[])
{
	WSADATA wsaData;
	HANDLE hComPort;
	SYSTEM_INFO sysInfo;
	SOCKET hServSock;
	SOCKADDR_IN servAdr;
	DWORD i;

	if (WSAStartup(MAKEWORD(2, 2), &wsaData) != 0)
		ErrorHandling("WSAStartup() error!");

	hComPort = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	if (hComPort == NULL)
		ErrorHandling("CreateIoCompletionPort() error!");
	GetSystemInfo(&sysInfo);
	for (i = 0; i < sysInfo.dwNumberOfProcessors; i++)
		_beginthreadex(NULL, 0, EchoThreadMain, (LPVOID)hComPort, 0, NULL);

	hServSock = WSASocket(AF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	memset(&servAdr, 0, sizeof(servAdr));
	servAdr.sin_family = AF_INET;
	servAdr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	servAdr.sin_port = htons((u_short)atoi(argc > 1 ? argv[1] : DEFAULT_PORT));

	if (bind(hServSock, (SOCKADDR *)&servAdr, sizeof(servAdr)) == SOCKET_ERROR)
		ErrorHandling("bind() error!");
	if (listen(hServSock, SOMAXCONN) == SOCKET_ERROR)
		ErrorHandling("listen() error!");

	while (1)
	{
		SOCKET hClntSock;
		SOCKET *key;
		SOCKADDR_IN clntAdr;
		LPIO_DATA ioInfo;
		int addrLen = sizeof(clntAdr);

		hClntSock = accept(hServSock, (SOCKADDR *)&clntAdr, &addrLen);
		if (hClntSock == INVALID_SOCKET)
		{
			printf("accept() error %d\n", WSAGetLastError());
			continue;
		}

		key = (SOCKET *)malloc(sizeof(SOCKET));
		*key = hClntSock;
		if (CreateIoCompletionPort((HANDLE)hClntSock, hComPort, (ULONG_PTR)key, 0) == NULL)
			ErrorHandling("the socket does not go to the port!");

		ioInfo = (LPIO_DATA)malloc(sizeof(IO_DATA));
		PostRecv(hClntSock, ioInfo);
	}
	return 0;
}

unsigned WINAPI EchoThreadMain(LPVOID pComPort)
{
	HANDLE hComPort = (HANDLE)pComPort;
	DWORD bytesTrans;
	DWORD sent;
	SOCKET *key;
	LPIO_DATA ioInfo;

	while (1)
	{
		BOOL ok = GetQueuedCompletionStatus(hComPort, &bytesTrans, (PULONG_PTR)&key, (LPOVERLAPPED *)&ioInfo, INFINITE);
		if (!ok && ioInfo == NULL)
			break;

		if (!ok || bytesTrans == 0)
		{
			CloseClient(key, ioInfo);
			continue;
		}

		if (ioInfo->rwMode == READ)
		{
			memset(&ioInfo->overlapped, 0, sizeof(OVERLAPPED));
			ioInfo->wsaBuf.buf = ioInfo->buffer;
			ioInfo->wsaBuf.len = bytesTrans;
			ioInfo->rwMode = WRITE;
			if (WSASend(*key, &ioInfo->wsaBuf, 1, &sent, 0, &ioInfo->overlapped, NULL) == SOCKET_ERROR
				&& WSAGetLastError() != WSA_IO_PENDING)
				CloseClient(key, ioInfo);
		}
		else
		{
			PostRecv(*key, ioInfo);
		}
	}
	return 0;
}

void PostRecv(SOCKET sock, LPIO_DATA ioInfo)
{
	DWORD flags = 0, recvBytes;

	memset(&ioInfo->overlapped, 0, sizeof(OVERLAPPED));
	ioInfo->wsaBuf.buf = ioInfo->buffer;
	ioInfo->wsaBuf.len = BUF_SIZE;
	ioInfo->rwMode = READ;
	if (WSARecv(sock, &ioInfo->wsaBuf, 1, &recvBytes, &flags, &ioInfo->overlapped, NULL) == SOCKET_ERROR
		&& WSAGetLastError() != WSA_IO_PENDING)
		/* nothing will come of it: let a worker see it */
		closesocket(sock);
}

void CloseClient(SOCKET *key, LPIO_DATA ioInfo)
{
	closesocket(*key);
	free(key);
	free(ioInfo);
}

void ErrorHandling(char *message)
{
	fputs(message, stderr);
	fputc('\n', stderr);
	exit(1);
}
