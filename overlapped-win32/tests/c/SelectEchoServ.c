/* Echo server on select(): the oldest way, with Windows' own fd_set. */
#include <stdio.h>
#include <stdlib.h>
#include <winsock2.h>
#pragma comment(lib, "ws2_32.lib")

#define BUF_SIZE 1024

int main(int argc, char *argv[])
{
	WSADATA wsaData;
	SOCKET hServSock, hClntSock;
	SOCKADDR_IN servAdr, clntAdr;
	TIMEVAL timeout;
	fd_set reads, cpyReads;
	char buf[BUF_SIZE];
	int adrSz, strLen, fdNum;
	unsigned int i;

	if (WSAStartup(MAKEWORD(2, 2), &wsaData) != 0)
		return 1;
	hServSock = socket(PF_INET, SOCK_STREAM, 0);
	memset(&servAdr, 0, sizeof(servAdr));
	servAdr.sin_family = AF_INET;
	servAdr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	servAdr.sin_port = htons((u_short)atoi(argc > 1 ? argv[1] : "9190"));
	if (bind(hServSock, (SOCKADDR *)&servAdr, sizeof(servAdr)) == SOCKET_ERROR || listen(hServSock, 5) == SOCKET_ERROR)
		return 1;

	FD_ZERO(&reads);
	FD_SET(hServSock, &reads);
	while (1)
	{
		cpyReads = reads;
		timeout.tv_sec = 5;
		timeout.tv_usec = 5000;
		if ((fdNum = select(0, &cpyReads, 0, 0, &timeout)) == SOCKET_ERROR)
			break;
		if (fdNum == 0)
			continue;
		for (i = 0; i < reads.fd_count; i++)
		{
			if (!FD_ISSET(reads.fd_array[i], &cpyReads))
				continue;
			if (reads.fd_array[i] == hServSock)
			{
				adrSz = sizeof(clntAdr);
				hClntSock = accept(hServSock, (SOCKADDR *)&clntAdr, &adrSz);
				FD_SET(hClntSock, &reads);
				continue;
			}
			strLen = recv(reads.fd_array[i], buf, BUF_SIZE - 1, 0);
			if (strLen <= 0)
			{
				SOCKET gone = reads.fd_array[i];
				FD_CLR(gone, &reads);
				closesocket(gone);
				i--;
			}
			else
				send(reads.fd_array[i], buf, strLen, 0);
		}
	}
	closesocket(hServSock);
	WSACleanup();
	return 0;
}
