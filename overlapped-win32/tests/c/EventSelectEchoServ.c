/*
 * Echo server on WSAEventSelect: one event for each socket, in an array that a single thread waits for.
 * What did not fit into a socket's buffer waits for FD_WRITE.
 *
 * Usage: EventSelectEchoServ [port]
 */
#define FD_SETSIZE 128
#include <Winsock2.h>
#include <stdio.h>
#include <stdlib.h>
#pragma comment(lib,"ws2_32")

#define DATA_BUFSIZE 8192

typedef struct _SOCKET_INFORMATION {
    CHAR Buffer[DATA_BUFSIZE];
    SOCKET Socket;
    DWORD BytesSEND;
    DWORD BytesRECV;
} SOCKET_INFORMATION, * LPSOCKET_INFORMATION;

DWORD EventTotal = 0;
WSAEVENT EventArray[WSA_MAXIMUM_WAIT_EVENTS];
LPSOCKET_INFORMATION SocketArray[WSA_MAXIMUM_WAIT_EVENTS];

static BOOL AddSocket(SOCKET s, LONG events)
{
    LPSOCKET_INFORMATION SI;
    if (EventTotal == WSA_MAXIMUM_WAIT_EVENTS)
        return FALSE;
    if ((EventArray[EventTotal] = WSACreateEvent()) == WSA_INVALID_EVENT)
        return FALSE;
    if ((SI = (LPSOCKET_INFORMATION) GlobalAlloc(GPTR, sizeof(SOCKET_INFORMATION))) == NULL)
        return FALSE;
    SI->Socket = s;
    if (WSAEventSelect(s, EventArray[EventTotal], events) == SOCKET_ERROR) {
        printf("WSAEventSelect() failed with error %d\n", WSAGetLastError());
        return FALSE;
    }
    SocketArray[EventTotal++] = SI;
    return TRUE;
}

static void FreeSocket(DWORD Index)
{
    closesocket(SocketArray[Index]->Socket);
    GlobalFree(SocketArray[Index]);
    WSACloseEvent(EventArray[Index]);
    for (EventTotal--; Index < EventTotal; Index++) {
        EventArray[Index] = EventArray[Index + 1];
        SocketArray[Index] = SocketArray[Index + 1];
    }
}

/* FALSE: the connection is gone. */
static BOOL Echo(LPSOCKET_INFORMATION SI)
{
    while (SI->BytesSEND < SI->BytesRECV) {
        int sent = send(SI->Socket, SI->Buffer + SI->BytesSEND, SI->BytesRECV - SI->BytesSEND, 0);
        if (sent == SOCKET_ERROR)
            return WSAGetLastError() == WSAEWOULDBLOCK;
        SI->BytesSEND += sent;
    }
    SI->BytesSEND = SI->BytesRECV = 0;
    return TRUE;
}

static BOOL Read(LPSOCKET_INFORMATION SI)
{
    for (;;) {
        int got;
        if (SI->BytesRECV > SI->BytesSEND)
            return TRUE; /* FD_WRITE first */
        got = recv(SI->Socket, SI->Buffer, DATA_BUFSIZE, 0);
        if (got == 0)
            return FALSE;
        if (got == SOCKET_ERROR)
            return WSAGetLastError() == WSAEWOULDBLOCK;
        SI->BytesRECV = got;
        if (!Echo(SI))
            return FALSE;
    }
}

int main(int argc, char **argv)
{
    SOCKET Listen, Accept;
    SOCKADDR_IN InternetAddr;
    WSANETWORKEVENTS NetworkEvents;
    WSADATA wsaData;
    DWORD Event, Ret;

    if ((Ret = WSAStartup(0x0202, &wsaData)) != 0) {
        printf("WSAStartup() failed with error %lu\n", Ret);
        return 1;
    }
    if ((Listen = socket(AF_INET, SOCK_STREAM, 0)) == INVALID_SOCKET) {
        printf("socket() failed with error %d\n", WSAGetLastError());
        return 1;
    }
    ZeroMemory(&InternetAddr, sizeof(InternetAddr));
    InternetAddr.sin_family = AF_INET;
    InternetAddr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    InternetAddr.sin_port = htons((USHORT) atoi(argc > 1 ? argv[1] : "9190"));
    if (AddSocket(Listen, FD_ACCEPT | FD_CLOSE) == FALSE)
        return 1;
    if (bind(Listen, (PSOCKADDR) & InternetAddr, sizeof(InternetAddr)) == SOCKET_ERROR) {
        printf("bind() failed with error %d\n", WSAGetLastError());
        return 1;
    }
    if (listen(Listen, 5)) {
        printf("listen() failed with error %d\n", WSAGetLastError());
        return 1;
    }

    while (TRUE) {
        if ((Event = WSAWaitForMultipleEvents(EventTotal, EventArray, FALSE, WSA_INFINITE, FALSE)) == WSA_WAIT_FAILED) {
            printf("WSAWaitForMultipleEvents() failed with error %d\n", WSAGetLastError());
            return 1;
        }
        /* those behind the first one, too: none may starve */
        for (Event -= WSA_WAIT_EVENT_0; Event < EventTotal; Event++) {
            LPSOCKET_INFORMATION SI = SocketArray[Event];
            BOOL alive = TRUE;
            if (WSAWaitForMultipleEvents(1, &EventArray[Event], TRUE, 0, FALSE) != WSA_WAIT_EVENT_0)
                continue;
            if (WSAEnumNetworkEvents(SI->Socket, EventArray[Event], &NetworkEvents) == SOCKET_ERROR) {
                printf("WSAEnumNetworkEvents() failed with error %d\n", WSAGetLastError());
                return 1;
            }
            if (NetworkEvents.lNetworkEvents & FD_ACCEPT) {
                if (NetworkEvents.iErrorCode[FD_ACCEPT_BIT] != 0)
                    break;
                if ((Accept = accept(SI->Socket, NULL, NULL)) != INVALID_SOCKET && !AddSocket(Accept, FD_READ | FD_WRITE | FD_CLOSE)) {
                    printf("too many connections: one is closed\n");
                    closesocket(Accept);
                }
                continue;
            }
            if (NetworkEvents.lNetworkEvents & FD_WRITE)
                alive = Echo(SI) && Read(SI);
            if (alive && NetworkEvents.lNetworkEvents & FD_READ)
                alive = Read(SI);
            if (!alive || NetworkEvents.lNetworkEvents & FD_CLOSE) {
                if (alive)
                    Read(SI);
                FreeSocket(Event--);
            }
        }
    }
    return 0;
}
