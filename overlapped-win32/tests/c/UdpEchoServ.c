/* Datagrams echoed by overlapped WSARecvFrom and WSASendTo on a port, with several receives posted. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#pragma comment(lib, "ws2_32")

#define RECEIVES 8

typedef struct {
	OVERLAPPED ov;
	WSABUF wsabuf;
	char data[2048];
	SOCKADDR_STORAGE from;
	int fromlen;
	DWORD flags;
	enum { OP_RECV, OP_SEND } op;
} DATAGRAM;

static void Receive(SOCKET s, DATAGRAM *d)
{
	memset(&d->ov, 0, sizeof d->ov);
	d->op = OP_RECV;
	d->wsabuf.buf = d->data;
	d->wsabuf.len = sizeof d->data;
	d->fromlen = sizeof d->from;
	d->flags = 0;
	if (WSARecvFrom(s, &d->wsabuf, 1, NULL, &d->flags, (SOCKADDR *)&d->from, &d->fromlen, &d->ov, NULL) == SOCKET_ERROR
		&& WSAGetLastError() != WSA_IO_PENDING)
		fprintf(stderr, "WSARecvFrom: %d\n", WSAGetLastError());
}

int main(int argc, char **argv)
{
	WSADATA wsa;
	SOCKET s;
	HANDLE port;
	SOCKADDR_IN local;
	DATAGRAM *all;
	int i;

	WSAStartup(MAKEWORD(2, 2), &wsa);
	s = WSASocket(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED);
	memset(&local, 0, sizeof local);
	local.sin_family = AF_INET;
	inet_pton(AF_INET, "127.0.0.1", &local.sin_addr);
	local.sin_port = htons((u_short)atoi(argc > 1 ? argv[1] : "9190"));
	if (bind(s, (SOCKADDR *)&local, sizeof local) == SOCKET_ERROR) {
		fprintf(stderr, "bind: %d\n", WSAGetLastError());
		return 1;
	}
	port = CreateIoCompletionPort((HANDLE)s, NULL, (ULONG_PTR)s, 1);
	all = (DATAGRAM *)VirtualAlloc(NULL, RECEIVES * sizeof(DATAGRAM), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
	for (i = 0; i < RECEIVES; i++)
		Receive(s, &all[i]);

	for (;;) {
		DWORD bytes;
		ULONG_PTR key;
		LPOVERLAPPED ov;
		BOOL ok = GetQueuedCompletionStatus(port, &bytes, &key, &ov, INFINITE);
		DATAGRAM *d = (DATAGRAM *)ov;
		if (d == NULL)
			return 1;
		if (!ok || d->op == OP_SEND) {
			Receive((SOCKET)key, d);
			continue;
		}
		d->op = OP_SEND;
		d->wsabuf.len = bytes;
		memset(&d->ov, 0, sizeof d->ov);
		if (WSASendTo((SOCKET)key, &d->wsabuf, 1, NULL, 0, (SOCKADDR *)&d->from, d->fromlen, &d->ov, NULL) == SOCKET_ERROR
			&& WSAGetLastError() != WSA_IO_PENDING)
			Receive((SOCKET)key, d);
	}
}
