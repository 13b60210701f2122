/* Echo server on the process's thread pool: BindIoCompletionCallback says who hears of it, and there is no thread to be seen. */
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#pragma comment(lib, "ws2_32")

typedef struct _SESSION {
    OVERLAPPED Overlapped;
    SOCKET Socket;
    BOOL Sending;
    WSABUF Buffer;
    CHAR Data[2048];
} SESSION, *PSESSION;

volatile LONG Sessions = 0;

static VOID Step(PSESSION Session, DWORD Bytes)
{
    DWORD Flags = 0;
    int Result;

    Session->Sending = !Session->Sending;
    Session->Buffer.buf = Session->Data;
    RtlZeroMemory(&Session->Overlapped, sizeof(OVERLAPPED));
    if (Session->Sending) {
        Session->Buffer.len = Bytes;
        Result = WSASend(Session->Socket, &Session->Buffer, 1, NULL, 0, &Session->Overlapped, NULL);
    } else {
        Session->Buffer.len = sizeof(Session->Data);
        Result = WSARecv(Session->Socket, &Session->Buffer, 1, NULL, &Flags, &Session->Overlapped, NULL);
    }
    if (Result == SOCKET_ERROR && WSAGetLastError() != WSA_IO_PENDING) {
        closesocket(Session->Socket);
        HeapFree(GetProcessHeap(), 0, Session);
        InterlockedDecrement(&Sessions);
    }
}

VOID CALLBACK Completed(DWORD Error, DWORD Bytes, LPOVERLAPPED Overlapped)
{
    PSESSION Session = CONTAINING_RECORD(Overlapped, SESSION, Overlapped);

    if (Error != ERROR_SUCCESS || Bytes == 0) {
        closesocket(Session->Socket);
        HeapFree(GetProcessHeap(), 0, Session);
        InterlockedDecrement(&Sessions);
        return;
    }
    Step(Session, Bytes);
}

int __cdecl main(int argc, char **argv)
{
    WSADATA Data;
    SOCKET Listener, Socket;
    SOCKADDR_IN Address = {0};

    if (WSAStartup(WINSOCK_VERSION, &Data))
        return 1;
    Listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    Address.sin_family = AF_INET;
    Address.sin_addr.s_addr = htonl(0x7f000001);
    Address.sin_port = htons((u_short)atoi(argc > 1 ? argv[1] : "9190"));
    __try {
        if (bind(Listener, (LPSOCKADDR)&Address, sizeof(Address)) || listen(Listener, SOMAXCONN)) {
            printf("error %d\n", WSAGetLastError());
            __leave;
        }
        for (;;) {
            PSESSION Session;

            Socket = accept(Listener, NULL, NULL);
            if (Socket == INVALID_SOCKET)
                __leave;
            Session = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(SESSION));
            Session->Socket = Socket;
            Session->Sending = TRUE;
            InterlockedIncrement(&Sessions);
            if (!BindIoCompletionCallback((HANDLE)Socket, Completed, 0)) {
                printf("BindIoCompletionCallback: %lu\n", GetLastError());
                __leave;
            }
            Step(Session, 0);
        }
    } __finally {
        closesocket(Listener);
        WSACleanup();
    }
    return 1;
}
