/*
 * A TCP echo server on a Windows completion port, as a C program for Windows: compiled on Linux by `ovl cc`, and for Windows by
 * mingw-w64, from this one source. It does what the other servers of the benchmark do.
 *
 * Usage: echo-win32 IP:PORT [--workers N] [--buffer-size BYTES]
 */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHO 0xFE /* a message that begins so comes back with the worker's number as its second byte */

typedef struct CONNECTION {
    OVERLAPPED overlapped; /* one operation at a time: it begins the structure */
    SOCKET socket;
    BOOL sending;
    DWORD length;
    DWORD sent;
    char buffer[1];
} CONNECTION;

static HANDLE port;
static DWORD buffer_size = 16 * 1024;

static void die(const char *what, int code)
{
    fprintf(stderr, "%s: error %d\n", what, code);
    exit(1);
}

static void hang_up(CONNECTION *connection)
{
    closesocket(connection->socket);
    free(connection);
}

static void receive(CONNECTION *connection)
{
    DWORD flags = 0;
    WSABUF room;
    room.buf = connection->buffer;
    room.len = buffer_size;
    connection->sending = FALSE;
    memset(&connection->overlapped, 0, sizeof connection->overlapped);
    if (WSARecv(connection->socket, &room, 1, NULL, &flags, &connection->overlapped, NULL) == SOCKET_ERROR &&
        WSAGetLastError() != WSA_IO_PENDING)
        hang_up(connection);
}

static void send_rest(CONNECTION *connection)
{
    WSABUF rest;
    rest.buf = connection->buffer + connection->sent;
    rest.len = connection->length - connection->sent;
    connection->sending = TRUE;
    memset(&connection->overlapped, 0, sizeof connection->overlapped);
    if (WSASend(connection->socket, &rest, 1, NULL, 0, &connection->overlapped, NULL) == SOCKET_ERROR &&
        WSAGetLastError() != WSA_IO_PENDING)
        hang_up(connection);
}

static unsigned WINAPI work(void *number)
{
    DWORD moved;
    ULONG_PTR key;
    OVERLAPPED *overlapped;

    for (;;) {
        BOOL fine = GetQueuedCompletionStatus(port, &moved, &key, &overlapped, INFINITE);
        CONNECTION *connection = (CONNECTION *)overlapped;
        if (overlapped == NULL)
            break;
        if (!fine || moved == 0) {
            hang_up(connection);
        } else if (connection->sending) {
            connection->sent += moved;
            if (connection->sent < connection->length)
                send_rest(connection);
            else
                receive(connection);
        } else {
            connection->length = moved;
            connection->sent = 0;
            if (moved > 1 && (unsigned char)connection->buffer[0] == WHO)
                connection->buffer[1] = (char)(INT_PTR)number;
            send_rest(connection);
        }
    }
    die("GetQueuedCompletionStatus", GetLastError());
    return 1;
}

int main(int argc, char **argv)
{
    WSADATA data;
    SOCKET listener;
    SOCKADDR_IN address;
    int length = sizeof address, workers = 1, i;
    char ip[64], *colon;

    if (argc < 2 || strlen(argv[1]) >= sizeof ip || (colon = strchr(argv[1], ':')) == NULL) {
        fprintf(stderr, "usage: %s IP:PORT [--workers N] [--buffer-size BYTES]\n", argv[0]);
        return 2;
    }
    for (i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--workers") == 0)
            workers = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--buffer-size") == 0)
            buffer_size = (DWORD)atoi(argv[i + 1]);
    }
    memcpy(ip, argv[1], (size_t)(colon - argv[1]));
    ip[colon - argv[1]] = '\0';
    if (WSAStartup(MAKEWORD(2, 2), &data) != 0)
        die("WSAStartup", WSAGetLastError());
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = inet_addr(ip);
    address.sin_port = htons((u_short)atoi(colon + 1));
    port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, (DWORD)workers);
    listener = WSASocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (port == NULL || listener == INVALID_SOCKET)
        die("a port and a socket", WSAGetLastError());
    if (bind(listener, (SOCKADDR *)&address, sizeof address) == SOCKET_ERROR || listen(listener, SOMAXCONN) == SOCKET_ERROR)
        die(argv[1], WSAGetLastError());
    for (i = 0; i < workers; i++)
        if (_beginthreadex(NULL, 0, work, (void *)(INT_PTR)i, 0, NULL) == 0)
            die("_beginthreadex", GetLastError());
    getsockname(listener, (SOCKADDR *)&address, &length);
    printf("listening on %s:%d\n", ip, ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        BOOL at_once = TRUE;
        CONNECTION *connection;
        SOCKET socket = accept(listener, NULL, NULL);
        if (socket == INVALID_SOCKET)
            die("accept", WSAGetLastError());
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&at_once, sizeof at_once);
        connection = (CONNECTION *)malloc(sizeof(CONNECTION) + buffer_size);
        if (connection == NULL)
            die("malloc", ERROR_NOT_ENOUGH_MEMORY);
        connection->socket = socket;
        if (CreateIoCompletionPort((HANDLE)socket, port, (ULONG_PTR)connection, 0) == NULL)
            die("CreateIoCompletionPort", GetLastError());
        receive(connection);
    }
}
