/*
 * Client of an echo server. Sends each line and reads until as many bytes have come back, in as many
 * pieces as it takes. "q" or "Q" leaves.
 *
 * Usage: echo_client [IP [port]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winsock2.h>
#pragma comment(lib, "ws2_32.lib")

#define BUF_SIZE 1024

void ErrorHandling(char *message);

int main(int argc, char *argv[])
{
	WSADATA wsaData;
	SOCKET hSocket;
	SOCKADDR_IN servAdr;
	char message[BUF_SIZE], answer[BUF_SIZE];
	int strLen, readLen, got, pieces;

	if (WSAStartup(MAKEWORD(2, 2), &wsaData) != 0)
		ErrorHandling("WSAStartup() error!");

	hSocket = socket(PF_INET, SOCK_STREAM, 0);
	if (hSocket == INVALID_SOCKET)
		ErrorHandling("socket() error");

	memset(&servAdr, 0, sizeof(servAdr));
	servAdr.sin_family = AF_INET;
	servAdr.sin_addr.s_addr = inet_addr(argc > 1 ? argv[1] : "127.0.0.1");
	servAdr.sin_port = htons((u_short)atoi(argc > 2 ? argv[2] : "9190"));

	if (connect(hSocket, (SOCKADDR *)&servAdr, sizeof(servAdr)) == SOCKET_ERROR)
		ErrorHandling("connect() error!");
	puts("Connected");

	while (1)
	{
		fputs("Input message (Q to quit): ", stdout);
		if (fgets(message, BUF_SIZE, stdin) == NULL || !strcmp(message, "q\n") || !strcmp(message, "Q\n"))
			break;
		strLen = (int)strlen(message);
		send(hSocket, message, strLen, 0);
		for (readLen = 0, pieces = 0; readLen < strLen; readLen += got, pieces++)
		{
			got = recv(hSocket, answer + readLen, BUF_SIZE - 1 - readLen, 0);
			if (got <= 0)
				ErrorHandling("the server has gone");
		}
		answer[strLen] = 0;
		if (memcmp(message, answer, strLen) != 0)
			ErrorHandling("the server answered something else");
		printf("Message from server (%d piece%s): %s", pieces, pieces == 1 ? "" : "s", answer);
	}
	closesocket(hSocket);
	WSACleanup();
	return 0;
}

void ErrorHandling(char *message)
{
	fputs(message, stderr);
	fputc('\n', stderr);
	exit(1);
}
