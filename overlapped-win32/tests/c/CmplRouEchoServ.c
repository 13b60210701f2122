/*
 * Echo server on completion routines, in one thread: a listening socket that does not block is asked for
 * connections in between, and SleepEx() lets the routines run. With a routine the hEvent of an OVERLAPPED
 * is the program's own; here it leads to what belongs to the connection.
 *
 * Usage: CmplRouEchoServ [port]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winsock2.h>

#pragma comment (lib, "Ws2_32")

#define BUF_SIZE 1024

void CALLBACK ReadCompRoutine(DWORD, DWORD, LPWSAOVERLAPPED, DWORD);
void CALLBACK WriteCompRoutine(DWORD, DWORD, LPWSAOVERLAPPED, DWORD);
void ErrorHandling(char *message);

typedef struct
{
	SOCKET hClntSock;
	char buf[BUF_SIZE];
	WSABUF wsaBuf;
} PER_IO_DATA, *LPPER_IO_DATA;

static void Leave(LPWSAOVERLAPPED lpOverlapped)
{
	LPPER_IO_DATA hbInfo = (LPPER_IO_DATA)(lpOverlapped->hEvent);
	closesocket(hbInfo->hClntSock);
	free(hbInfo);
	free(lpOverlapped);
}

int main(int argc, char *argv[])
{
	WSADATA wsaData;
	SOCKET hLisnSock, hRecvSock;
	SOCKADDR_IN lisnAdr, recvAdr;
	LPWSAOVERLAPPED lpOvLp;
	DWORD recvBytes, flagInfo = 0;
	LPPER_IO_DATA hbInfo;
	int mode = 1, recvAdrSz;

	if (WSAStartup(MAKEWORD(2, 2), &wsaData) != 0)
		ErrorHandling("WSAStartup() error!");

	hLisnSock = WSASocket(PF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	ioctlsocket(hLisnSock, FIONBIO, &mode);

	memset(&lisnAdr, 0, sizeof(lisnAdr));
	lisnAdr.sin_family = AF_INET;
	lisnAdr.sin_addr.S_un.S_addr = inet_addr("127.0.0.1");
	lisnAdr.sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : "9190"));

	if (bind(hLisnSock, (SOCKADDR *)&lisnAdr, sizeof(lisnAdr)) == SOCKET_ERROR)
		ErrorHandling("bind() error!");
	if (listen(hLisnSock, SOMAXCONN) == SOCKET_ERROR)
		ErrorHandling("listen() error!");

	recvAdrSz = sizeof(recvAdr);
	while (1)
	{
		SleepEx(1, TRUE);
		hRecvSock = accept(hLisnSock, (SOCKADDR *)&recvAdr, &recvAdrSz);
		if (hRecvSock == INVALID_SOCKET)
		{
			if (WSAGetLastError() == WSAEWOULDBLOCK)
				continue;
			ErrorHandling("accept() error!");
		}

		lpOvLp = (LPWSAOVERLAPPED)malloc(sizeof(WSAOVERLAPPED));
		memset(lpOvLp, 0, sizeof(WSAOVERLAPPED));

		hbInfo = (LPPER_IO_DATA)malloc(sizeof(PER_IO_DATA));
		hbInfo->hClntSock = (DWORD)hRecvSock;
		hbInfo->wsaBuf.buf = hbInfo->buf;
		hbInfo->wsaBuf.len = BUF_SIZE;

		lpOvLp->hEvent = (HANDLE)hbInfo;
		if (WSARecv(hRecvSock, &hbInfo->wsaBuf, 1, &recvBytes, &flagInfo, lpOvLp, ReadCompRoutine) == SOCKET_ERROR
			&& WSAGetLastError() != WSA_IO_PENDING)
			Leave(lpOvLp);
	}
	closesocket(hLisnSock);
	WSACleanup();
	return 0;
}

void CALLBACK ReadCompRoutine(DWORD dwError, DWORD szRecvBytes, LPWSAOVERLAPPED lpOverlapped, DWORD flags)
{
	LPPER_IO_DATA hbInfo = (LPPER_IO_DATA)(lpOverlapped->hEvent);
	DWORD sentBytes;

	if (dwError != 0 || szRecvBytes == 0)
	{
		Leave(lpOverlapped);
		return;
	}
	hbInfo->wsaBuf.len = szRecvBytes;
	if (WSASend(hbInfo->hClntSock, &hbInfo->wsaBuf, 1, &sentBytes, 0, lpOverlapped, WriteCompRoutine) == SOCKET_ERROR
		&& WSAGetLastError() != WSA_IO_PENDING)
		Leave(lpOverlapped);
}

void CALLBACK WriteCompRoutine(DWORD dwError, DWORD szSendBytes, LPWSAOVERLAPPED lpOverlapped, DWORD flags)
{
	LPPER_IO_DATA hbInfo = (LPPER_IO_DATA)(lpOverlapped->hEvent);
	DWORD recvBytes, flagInfo = 0;

	if (dwError != 0)
	{
		Leave(lpOverlapped);
		return;
	}
	hbInfo->wsaBuf.len = BUF_SIZE;
	if (WSARecv(hbInfo->hClntSock, &hbInfo->wsaBuf, 1, &recvBytes, &flagInfo, lpOverlapped, ReadCompRoutine) == SOCKET_ERROR
		&& WSAGetLastError() != WSA_IO_PENDING)
		Leave(lpOverlapped);
}

void ErrorHandling(char *message)
{
	fputs(message, stderr);
	fputc('\n', stderr);
	exit(1);
}
