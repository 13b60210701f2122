/* M: WSARecvMsg, WSASendMsg and TransmitPackets; sockets that go to another place or another process. */
#include "check.h"

static SOCKET datagrams(struct sockaddr_in *address)
{
    SOCKET s = WSASocketA(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED);
    int len = sizeof *address;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(s, (struct sockaddr *)address, sizeof *address) == 0);
    CHECK(getsockname(s, (struct sockaddr *)address, &len) == 0);
    return s;
}

static void m01_a_datagram_comes_with_its_sender(void)
{
    GUID receive_id = WSAID_WSARECVMSG, send_id = WSAID_WSASENDMSG;
    struct sockaddr_in here, there, from;
    SOCKET a = datagrams(&here), b = datagrams(&there), stream;
    LPFN_WSARECVMSG receive = (LPFN_WSARECVMSG)extension(a, receive_id);
    LPFN_WSASENDMSG send_message = (LPFN_WSASENDMSG)extension(a, send_id);
    char in[8], more[8];
    WSABUF pieces[2] = {{4, in}, {8, more}}, out[2] = {{3, (char *)"abc"}, {4, (char *)"defg"}};
    WSAMSG message;
    WSAOVERLAPPED overlapped;
    DWORD bytes = 0, flags = 0;
    CHECK(receive != NULL && send_message != NULL);
    if (!receive || !send_message)
        return;
    memset(&message, 0, sizeof message);
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = WSACreateEvent();
    message.name = (struct sockaddr *)&from;
    message.namelen = sizeof from;
    message.lpBuffers = pieces;
    message.dwBufferCount = 2;
    EQUAL(receive(a, &message, NULL, &overlapped, NULL), SOCKET_ERROR);
    EQUAL(WSAGetLastError(), WSA_IO_PENDING);
    {
        WSAMSG sent;
        memset(&sent, 0, sizeof sent);
        sent.name = (struct sockaddr *)&here;
        sent.namelen = sizeof here;
        sent.lpBuffers = out;
        sent.dwBufferCount = 2;
        EQUAL(send_message(b, &sent, 0, &bytes, NULL, NULL), 0);
        EQUAL(bytes, 7);
    }
    CHECK(WSAGetOverlappedResult(a, &overlapped, &bytes, TRUE, &flags));
    CHECK(bytes == 7 && memcmp(in, "abcd", 4) == 0 && memcmp(more, "efg", 3) == 0);
    CHECK(from.sin_port == there.sin_port && message.namelen == sizeof from);
    EQUAL(message.Control.len, 0);
    /* plain, and cut */
    EQUAL(sendto(b, "too long", 8, 0, (struct sockaddr *)&here, sizeof here), 8);
    message.dwBufferCount = 1;
    message.dwFlags = 0;
    EQUAL(receive(a, &message, &bytes, NULL, NULL), SOCKET_ERROR);
    EQUAL(WSAGetLastError(), WSAEMSGSIZE);
    EQUAL(message.dwFlags & MSG_TRUNC, WINE_DIFFERS("the flags are left alone") ? 0 : MSG_TRUNC);
    stream = socket(AF_INET, SOCK_STREAM, 0);
    EQUAL(receive(stream, &message, &bytes, NULL, NULL), SOCKET_ERROR);
    CHECK(WSAGetLastError() == WSAEOPNOTSUPP || WSAGetLastError() == WSAEINVAL || WSAGetLastError() == WSAENOTCONN);
    closesocket(stream);
    WSACloseEvent(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void m02_packets_of_memory_and_files(void)
{
    GUID id = WSAID_TRANSMITPACKETS;
    SOCKET a, b;
    LPFN_TRANSMITPACKETS transmit;
    TRANSMIT_PACKETS_ELEMENT elements[3];
    WSAOVERLAPPED overlapped;
    char path[MAX_PATH], name[MAX_PATH], in[32];
    HANDLE file;
    DWORD bytes = 0, flags = 0;
    connected_pair(&a, &b);
    transmit = (LPFN_TRANSMITPACKETS)extension(a, id);
    if (WINE_DIFFERS("there is no TransmitPackets")) {
        CHECK(transmit == NULL);
        closesocket(a);
        closesocket(b);
        return;
    }
    CHECK(transmit != NULL);
    GetTempPathA(sizeof path, path);
    GetTempFileNameA(path, "ovl", 0, name);
    file = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK(WriteFile(file, "0123456789", 10, &bytes, NULL));
    memset(elements, 0, sizeof elements);
    elements[0].dwElFlags = TP_ELEMENT_MEMORY;
    elements[0].cLength = 5;
    elements[0].pBuffer = (PVOID) "head ";
    elements[1].dwElFlags = TP_ELEMENT_FILE;
    elements[1].cLength = 4;
    elements[1].nFileOffset.QuadPart = 3;
    elements[1].hFile = file;
    elements[2].dwElFlags = TP_ELEMENT_MEMORY | TP_ELEMENT_EOP;
    elements[2].cLength = 5;
    elements[2].pBuffer = (PVOID) " tail";
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = WSACreateEvent();
    CHECK(transmit(a, elements, 3, 0, &overlapped, 0) || WSAGetLastError() == WSA_IO_PENDING);
    CHECK(WSAGetOverlappedResult(a, &overlapped, &bytes, TRUE, &flags));
    EQUAL(bytes, 14);
    EQUAL(recv_all(b, in, 14), 14);
    CHECK(memcmp(in, "head 3456 tail", 14) == 0);
    elements[1].cLength = 0; /* to the end of the file */
    CHECK(transmit(a, elements, 2, 0, NULL, TP_DISCONNECT));
    EQUAL(recv_all(b, in, 32), 12);
    CHECK(memcmp(in, "head 3456789", 12) == 0);
    WSACloseEvent(overlapped.hEvent);
    CloseHandle(file);
    closesocket(a);
    closesocket(b);
}

static void m03_a_duplicate_stands_for_the_same_socket(void)
{
    WSAPROTOCOL_INFOA info;
    SOCKET a, b, again;
    HANDLE port;
    OVERLAPPED overlapped, *which = NULL;
    ULONG_PTR key = 0;
    DWORD bytes = 0;
    char in[8];
    connected_pair(&a, &b);
    EQUAL(WSADuplicateSocketA(a, GetCurrentProcessId(), &info), 0);
    EQUAL(info.iSocketType, SOCK_STREAM);
    EQUAL(info.iAddressFamily, AF_INET);
    again = WSASocketA(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0, WSA_FLAG_OVERLAPPED);
    CHECK(again != INVALID_SOCKET && again != a);
    closesocket(a);
    EQUAL(send(again, "abc", 3, 0), 3);
    EQUAL(recv_all(b, in, 3), 3);
    port = CreateIoCompletionPort((HANDLE)again, NULL, 5, 0);
    memset(&overlapped, 0, sizeof overlapped);
    EQUAL(start_recv(again, in, 8, &overlapped), 0);
    EQUAL(send(b, "defg", 4, 0), 4);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
    CHECK(bytes == 4 && key == 5 && which == &overlapped);
    closesocket(again);
    EQUAL(recv(b, in, 8, 0), 0);
    closesocket(b);
    CloseHandle(port);
    EQUAL(WSADuplicateSocketA(INVALID_SOCKET, GetCurrentProcessId(), &info), SOCKET_ERROR);
    EQUAL(WSAGetLastError(), WSAENOTSOCK);
}

static char self[1024];

static DWORD WINAPI run_the_other(LPVOID command)
{
    return (DWORD)system((const char *)command);
}

/* The other process is told through a pipe. */
static void m04_a_socket_goes_to_another_process(void)
{
    char path[64], command[1200], in[16];
    SOCKET a, b;
    HANDLE pipe, thread;
    WSAPROTOCOL_INFOA info;
    DWORD bytes = 0, id = 0, code = 77;
    connected_pair(&a, &b);
    sprintf(path, "\\\\.\\pipe\\ovl-socket-%lu", (unsigned long)GetCurrentProcessId());
    pipe = CreateNamedPipeA(path, PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096, 4096, 0, NULL);
    CHECK(pipe != INVALID_HANDLE_VALUE);
#ifdef __linux__
    sprintf(command, "'%s' other '%s'", self, path);
#else
    sprintf(command, "\"\"%s\" other %s\"", self, path);
#endif
    thread = CreateThread(NULL, 0, run_the_other, command, 0, NULL);
    CHECK(ConnectNamedPipe(pipe, NULL) || GetLastError() == ERROR_PIPE_CONNECTED);
    CHECK(ReadFile(pipe, &id, sizeof id, &bytes, NULL) && bytes == sizeof id);
    EQUAL(WSADuplicateSocketA(a, id, &info), 0);
    CHECK(WriteFile(pipe, &info, sizeof info, &bytes, NULL));
    EQUAL(recv_all(b, in, 5), 5);
    CHECK(memcmp(in, "there", 5) == 0);
    EQUAL(send(b, "back!", 5, 0), 5);
    EQUAL(WaitForSingleObject(thread, 20000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code));
    EQUAL(code, 0);
    EQUAL(send(a, "mine", 4, 0), 4); /* which is still this process's, too */
    EQUAL(recv_all(b, in, 4), 4);
    CloseHandle(thread);
    CloseHandle(pipe);
    closesocket(a);
    closesocket(b);
}

static int other(const char *path)
{
    WSAPROTOCOL_INFOA info;
    DWORD id = GetCurrentProcessId(), bytes = 0;
    char in[8];
    SOCKET s;
    HANDLE pipe;
    start_winsock();
    if (!WaitNamedPipeA(path, 5000))
        return 2;
    pipe = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE || !WriteFile(pipe, &id, sizeof id, &bytes, NULL))
        return 3;
    if (!ReadFile(pipe, &info, sizeof info, &bytes, NULL) || bytes != sizeof info)
        return 4;
    s = WSASocketA(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0, WSA_FLAG_OVERLAPPED);
    if (s == INVALID_SOCKET)
        return 5;
    if (send(s, "there", 5, 0) != 5 || recv_all(s, in, 5) != 5 || memcmp(in, "back!", 5) != 0)
        return 6;
    closesocket(s);
    CloseHandle(pipe);
    return 0;
}

int main(int argc, char **argv)
{
    use_all();
    if (argc == 3 && strcmp(argv[1], "other") == 0)
        return other(argv[2]);
    strcpy(self, argv[0]);
    start_winsock();
    RUN(m01_a_datagram_comes_with_its_sender);
    RUN(m02_packets_of_memory_and_files);
    RUN(m03_a_duplicate_stands_for_the_same_socket);
    RUN(m04_a_socket_goes_to_another_process);
    return summary();
}
