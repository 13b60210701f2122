/* S: sockets, plain and overlapped; AcceptEx and its companions; readiness. */
#include "check.h"

static const GUID accept_ex = WSAID_ACCEPTEX, connect_ex = WSAID_CONNECTEX, disconnect_ex = WSAID_DISCONNECTEX,
                  transmit_file = WSAID_TRANSMITFILE, sockaddrs = WSAID_GETACCEPTEXSOCKADDRS;

static SOCKET tcp(void)
{
    return WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
}

static SOCKET udp(struct sockaddr_in *address)
{
    SOCKET s = WSASocketA(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED);
    int len = sizeof *address;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EQUAL(bind(s, (struct sockaddr *)address, sizeof *address), 0);
    EQUAL(getsockname(s, (struct sockaddr *)address, &len), 0);
    return s;
}

/* Waits for an operation's event. */
static BOOL ended(SOCKET s, OVERLAPPED *overlapped, DWORD *bytes)
{
    DWORD flags;
    if (WaitForSingleObject(overlapped->hEvent, 5000) != WAIT_OBJECT_0)
        return FALSE;
    return WSAGetOverlappedResult(s, overlapped, bytes, FALSE, &flags);
}

static OVERLAPPED with_event(void)
{
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    return overlapped;
}

static void s01_without_an_overlapped_a_call_waits(void)
{
    SOCKET a, b;
    WSABUF buffers[2];
    char in[8];
    DWORD bytes = 0, flags = 0;
    connected_pair(&a, &b);
    buffers[0].buf = "abc";
    buffers[0].len = 3;
    buffers[1].buf = "defgh";
    buffers[1].len = 5;
    EQUAL(WSASend(a, buffers, 2, &bytes, 0, NULL, NULL), 0);
    EQUAL(bytes, 8);
    EQUAL(recv_all(b, in, 8), 8);
    CHECK(memcmp(in, "abcdefgh", 8) == 0);
    FAILS(WSASend(a, buffers, 2, NULL, 0, NULL, NULL) == SOCKET_ERROR, WSAEFAULT);
    FAILS(WSARecv(a, buffers, 1, NULL, &flags, NULL, NULL) == SOCKET_ERROR, WSAEFAULT);
    if (WINE_DIFFERS("no buffers at all are a receive without room")) {
        EQUAL(send(b, "x", 1, 0), 1); /* or it would wait */
        EQUAL(WSARecv(a, buffers, 0, &bytes, &flags, NULL, NULL), 0);
        EQUAL(bytes, 0);
    } else {
        FAILS(WSARecv(a, buffers, 0, &bytes, &flags, NULL, NULL) == SOCKET_ERROR, WSAEINVAL);
    }
    closesocket(a);
    closesocket(b);
}

static void s03_zero_bytes_are_the_orderly_end(void)
{
    SOCKET a, b;
    char in[8];
    DWORD bytes = 9;
    OVERLAPPED overlapped = with_event();
    connected_pair(&a, &b);
    EQUAL(start_recv(b, in, 8, &overlapped), 0);
    EQUAL(shutdown(a, SD_SEND), 0);
    CHECK(ended(b, &overlapped, &bytes));
    EQUAL(bytes, 0);
    FAILS(send(a, "x", 1, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    EQUAL(send(b, "back", 4, 0), 4);
    EQUAL(recv_all(a, in, 4), 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void s03_peek_takes_nothing_and_waitall_waits_for_all(void)
{
    SOCKET a, b;
    char in[8];
    connected_pair(&a, &b);
    EQUAL(send(a, "abcd", 4, 0), 4);
    EQUAL(recv(b, in, 8, MSG_PEEK), 4);
    EQUAL(recv(b, in, 8, 0), 4);
    EQUAL(send(a, "1234", 4, 0), 4);
    EQUAL(send(a, "5678", 4, 0), 4);
    EQUAL(recv(b, in, 8, MSG_WAITALL), 8);
    CHECK(memcmp(in, "12345678", 8) == 0);
    closesocket(a);
    closesocket(b);
}

static void s05_a_receive_without_room_waits_for_data_and_takes_none(void)
{
    SOCKET a, b;
    char in[8];
    DWORD bytes = 9;
    OVERLAPPED overlapped = with_event();
    connected_pair(&a, &b);
    EQUAL(start_recv(b, NULL, 0, &overlapped), 0);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 30), WAIT_TIMEOUT);
    send(a, "abcd", 4, 0);
    CHECK(ended(b, &overlapped, &bytes));
    EQUAL(bytes, 0);
    EQUAL(recv(b, in, 8, 0), 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void s06_datagrams(void)
{
    struct sockaddr_in at, from;
    SOCKET a, b = udp(&at), unbound = WSASocketA(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED);
    int len = sizeof from;
    char in[8];
    WSABUF buffer;
    DWORD bytes = 0, flags = 0;
    OVERLAPPED overlapped = with_event();
    buffer.buf = in;
    buffer.len = 4;
    memset(&from, 0, sizeof from);
    a = udp(&from);
    if (WINE_DIFFERS("a socket that is not bound receives")) {
        FAILS(WSARecvFrom(unbound, &buffer, 1, &bytes, &flags, NULL, NULL, &overlapped, NULL) == SOCKET_ERROR, WSA_IO_PENDING);
        CHECK(CancelIoEx((HANDLE)unbound, NULL) && !ended(unbound, &overlapped, &bytes));
    } else {
        FAILS(WSARecvFrom(unbound, &buffer, 1, &bytes, &flags, NULL, NULL, &overlapped, NULL) == SOCKET_ERROR, WSAEINVAL);
    }
    EQUAL(WSARecvFrom(b, &buffer, 1, NULL, &flags, (struct sockaddr *)&from, &len, &overlapped, NULL), SOCKET_ERROR);
    EQUAL(WSAGetLastError(), WSA_IO_PENDING);
    EQUAL(sendto(a, "abc", 3, 0, (struct sockaddr *)&at, sizeof at), 3);
    CHECK(ended(b, &overlapped, &bytes));
    EQUAL(bytes, 3);
    EQUAL(len, sizeof from);
    CHECK(from.sin_family == AF_INET && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK) && from.sin_port != 0);
    /* too long: it is cut */
    EQUAL(WSARecvFrom(b, &buffer, 1, NULL, &flags, NULL, NULL, &overlapped, NULL), SOCKET_ERROR);
    EQUAL(sendto(a, "abcdefgh", 8, 0, (struct sockaddr *)&at, sizeof at), 8);
    FAILS(!ended(b, &overlapped, &bytes), WSAEMSGSIZE);
    EQUAL(overlapped.Internal, 0x80000005);
    CHECK(memcmp(in, "abcd", 4) == 0);
    EQUAL(sendto(a, "abcdefgh", 8, 0, (struct sockaddr *)&at, sizeof at), 8);
    FAILS(recvfrom(b, in, 4, 0, NULL, NULL) == SOCKET_ERROR, WSAEMSGSIZE);
    EQUAL(sendto(unbound, "hi", 2, 0, (struct sockaddr *)&at, sizeof at), 2);
    len = sizeof from;
    EQUAL(recvfrom(b, in, 8, 0, (struct sockaddr *)&from, &len), 2);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
    closesocket(unbound);
}

static void s07_time_limits_bound_plain_receives_only(void)
{
    SOCKET a, b;
    char in[8];
    DWORD limit = 60, got = 0, bytes;
    int len = sizeof got;
    u_long on = 1;
    OVERLAPPED overlapped = with_event();
    ULONGLONG begun;
    connected_pair(&a, &b);
    EQUAL(setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, (char *)&limit, sizeof limit), 0);
    EQUAL(getsockopt(b, SOL_SOCKET, SO_RCVTIMEO, (char *)&got, &len), 0);
    EQUAL(got, 60);
    begun = GetTickCount64();
    FAILS(recv(b, in, 8, 0) == SOCKET_ERROR, WSAETIMEDOUT);
    CHECK(GetTickCount64() - begun >= 45);
    EQUAL(ioctlsocket(b, FIONBIO, &on), 0);
    FAILS(recv(b, in, 8, 0) == SOCKET_ERROR, WSAEWOULDBLOCK);
    EQUAL(start_recv(b, in, 8, &overlapped), 0);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 150), WAIT_TIMEOUT);
    send(a, "abcd", 4, 0);
    CHECK(ended(b, &overlapped, &bytes));
    EQUAL(bytes, 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void s08_a_socket_without_the_attribute_waits(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), a = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, 0), b;
    OVERLAPPED overlapped = with_event();
    WSABUF buffer;
    DWORD bytes = 0;
    buffer.buf = "abcd";
    buffer.len = 4;
    EQUAL(connect(a, (struct sockaddr *)&at, sizeof at), 0);
    b = accept(l, NULL, NULL);
    EQUAL(WSASend(a, &buffer, 1, &bytes, 0, &overlapped, NULL), 0);
    EQUAL(bytes, 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
    closesocket(l);
}

static void s10_what_acceptex_refuses_at_once(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = tcp(), bare = tcp();
    LPFN_ACCEPTEX AcceptEx_ = (LPFN_ACCEPTEX)extension(l, accept_ex);
    OVERLAPPED overlapped = with_event();
    char room[256];
    DWORD bytes, each = sizeof(struct sockaddr_in) + 16;
    CHECK(AcceptEx_ != NULL);
    if (!AcceptEx_)
        return;
    FAILS(!AcceptEx_(l, INVALID_SOCKET, room, 0, each, each, &bytes, &overlapped), WSAENOTSOCK);
    if (WINE_DIFFERS("a socket that does not listen accepts")) {
        SOCKET other = tcp();
        FAILS(!AcceptEx_(bare, other, room, 0, each, each, &bytes, &overlapped), ERROR_IO_PENDING);
        CHECK(CancelIoEx((HANDLE)bare, NULL) && !ended(bare, &overlapped, &bytes));
        closesocket(other);
    } else {
        FAILS(!AcceptEx_(bare, s, room, 0, each, each, &bytes, &overlapped), WSAEINVAL);
    }
    FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, NULL), ERROR_INVALID_PARAMETER);
    FAILS(!AcceptEx_(l, s, NULL, 0, each, each, &bytes, &overlapped), WINE_DIFFERS("no buffer is another error") ? WSAEINVAL : WSAEFAULT);
    FAILS(!AcceptEx_(l, s, room, 0, each, 0, &bytes, &overlapped), WSAEFAULT);
    FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, &overlapped), ERROR_IO_PENDING);
    FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, &overlapped), WSAEINVAL);
    /* cancelling on the accept socket does not cancel it */
    if (WINE_DIFFERS("CancelIoEx of a socket without operations is TRUE"))
        CHECK(CancelIoEx((HANDLE)s, NULL));
    else
        FAILS(!CancelIoEx((HANDLE)s, NULL), ERROR_NOT_FOUND);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 20), WAIT_TIMEOUT);
    EQUAL(closesocket(l), 0);
    FAILS(!GetOverlappedResult((HANDLE)s, &overlapped, &bytes, TRUE), ERROR_OPERATION_ABORTED);
    CloseHandle(overlapped.hEvent);
    closesocket(s);
    closesocket(bare);
}

static void s10_s11_acceptex_with_and_without_first_data(void)
{
    int with;
    for (with = 0; with < 2; with++) {
        struct sockaddr_in at, name, *local = NULL, *remote = NULL;
        SOCKET l = listener_at(&at), s = tcp(), client = tcp();
        LPFN_ACCEPTEX AcceptEx_ = (LPFN_ACCEPTEX)extension(l, accept_ex);
        LPFN_GETACCEPTEXSOCKADDRS Sockaddrs_ = (LPFN_GETACCEPTEXSOCKADDRS)extension(l, sockaddrs);
        HANDLE port = CreateIoCompletionPort((HANDLE)l, NULL, 11, 0);
        OVERLAPPED overlapped, *which = NULL;
        char room[256], in[8];
        DWORD bytes = 0, each = sizeof(struct sockaddr_in) + 16, seconds = 0;
        ULONG_PTR key = 0;
        int len = sizeof name, local_len = 0, remote_len = 0;
        memset(&overlapped, 0, sizeof overlapped);
        CHECK(CreateIoCompletionPort((HANDLE)s, port, 22, 0) == port);
        FAILS(!AcceptEx_(l, s, room, with ? 128 : 0, each, each, &bytes, &overlapped), ERROR_IO_PENDING);
        EQUAL(connect(client, (struct sockaddr *)&at, sizeof at), 0);
        if (with) {
            FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 30), WAIT_TIMEOUT);
            EQUAL(send(client, "first", 5, 0), 5);
        }
        CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
        CHECK(which == &overlapped);
        EQUAL(key, 11); /* the listener's */
        EQUAL(bytes, with ? 5 : 0);
        CHECK(!with || memcmp(room, "first", 5) == 0);
        Sockaddrs_(room, with ? 128 : 0, each, each, (struct sockaddr **)&local, &local_len, (struct sockaddr **)&remote,
                   &remote_len);
        CHECK(local && remote && local->sin_port == at.sin_port && remote->sin_family == AF_INET);
        EQUAL(getsockname(client, (struct sockaddr *)&name, &len), 0);
        CHECK(remote && remote->sin_port == name.sin_port);
        len = sizeof name;
        EQUAL(getpeername(s, (struct sockaddr *)&name, &len), WINE_DIFFERS("the socket needs no update before it tells its peer") ? 0 : SOCKET_ERROR);
        EQUAL(setsockopt(s, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&l, sizeof l), 0);
        len = sizeof name;
        EQUAL(getpeername(s, (struct sockaddr *)&name, &len), 0);
        len = sizeof seconds;
        EQUAL(getsockopt(s, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &len), 0);
        CHECK(seconds < 5);
        EQUAL(send(s, "back", 4, 0), 4);
        EQUAL(recv_all(client, in, 4), 4);
        closesocket(client);
        closesocket(s);
        closesocket(l);
        CloseHandle(port);
    }
}

static void s12_s13_connectex_and_disconnectex(void)
{
    struct sockaddr_in at, any;
    SOCKET l = listener_at(&at), s = tcp(), peer;
    LPFN_CONNECTEX ConnectEx_ = (LPFN_CONNECTEX)extension(l, connect_ex);
    LPFN_DISCONNECTEX DisconnectEx_ = (LPFN_DISCONNECTEX)extension(l, disconnect_ex);
    OVERLAPPED overlapped = with_event();
    char in[8];
    DWORD bytes = 0;
    memset(&any, 0, sizeof any);
    any.sin_family = AF_INET;
    FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, "hello", 5, &bytes, &overlapped), WSAEINVAL); /* unbound */
    EQUAL(bind(s, (struct sockaddr *)&any, sizeof any), 0);
    FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, "hello", 5, &bytes, NULL), ERROR_INVALID_PARAMETER);
    FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, "hello", 5, &bytes, &overlapped), ERROR_IO_PENDING);
    CHECK(ended(s, &overlapped, &bytes));
    EQUAL(bytes, 5);
    EQUAL(setsockopt(s, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0), 0);
    FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, "hello", 5, &bytes, &overlapped), WSAEISCONN);
    peer = accept(l, NULL, NULL);
    EQUAL(recv_all(peer, in, 5), 5);
    FAILS(!DisconnectEx_(s, &overlapped, 0, 0), ERROR_IO_PENDING);
    CHECK(ended(s, &overlapped, &bytes));
    EQUAL(bytes, 0);
    FAILS(send(s, "x", 1, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    EQUAL(recv(peer, in, 8, 0), 0);
    EQUAL(send(peer, "late", 4, 0), 4);
    EQUAL(recv_all(s, in, 4), 4);
    closesocket(s);
    closesocket(peer);
    /* refused */
    closesocket(l);
    s = tcp();
    EQUAL(bind(s, (struct sockaddr *)&any, sizeof any), 0);
    FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, NULL, 0, &bytes, &overlapped), ERROR_IO_PENDING);
    FAILS(!ended(s, &overlapped, &bytes), WSAECONNREFUSED);
    FAILS(!GetOverlappedResult((HANDLE)s, &overlapped, &bytes, FALSE), ERROR_CONNECTION_REFUSED);
    closesocket(s);
    s = tcp();
    FAILS(!DisconnectEx_(s, &overlapped, 0, 0), WSAENOTCONN);
    closesocket(s);
    CloseHandle(overlapped.hEvent);
}

static void s15_transmitfile(void)
{
    SOCKET a, b;
    LPFN_TRANSMITFILE TransmitFile_;
    TRANSMIT_FILE_BUFFERS around;
    char path[MAX_PATH], name[MAX_PATH], in[64];
    HANDLE file;
    DWORD bytes = 0;
    OVERLAPPED overlapped = with_event();
    GetTempPathA(sizeof path, path);
    CHECK(GetTempFileNameA(path, "ovl", 0, name) != 0);
    file = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
    CHECK(WriteFile(file, "0123456789", 10, &bytes, NULL));
    connected_pair(&a, &b);
    TransmitFile_ = (LPFN_TRANSMITFILE)extension(a, transmit_file);
    memset(&around, 0, sizeof around);
    around.Head = "<";
    around.HeadLength = 1;
    around.Tail = ">";
    around.TailLength = 1;
    overlapped.Offset = 3;
    FAILS(!TransmitFile_(a, file, 0, 0, &overlapped, &around, 0), ERROR_IO_PENDING);
    CHECK(ended(a, &overlapped, &bytes));
    EQUAL(bytes, 9);
    EQUAL(recv_all(b, in, 9), 9);
    CHECK(memcmp(in, "<3456789>", 9) == 0);
    CloseHandle(file);
    CHECK(GetFileAttributesA(name) == INVALID_FILE_ATTRIBUTES);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static DWORD WINAPI closes_later(void *socket)
{
    Sleep(100);
    closesocket((SOCKET)socket);
    return 0;
}

static void s18_accept_and_connect(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = tcp(), other;
    u_long on = 1;
    fd_set writable;
    struct timeval wait = {2, 0};
    FAILS(connect(s, (struct sockaddr *)&at, 3) == SOCKET_ERROR, WINE_DIFFERS("too short an address is another error") ? WSAEADDRNOTAVAIL : WSAEFAULT);
    EQUAL(ioctlsocket(l, FIONBIO, &on), 0);
    FAILS(accept(l, NULL, NULL) == INVALID_SOCKET, WSAEWOULDBLOCK);
    EQUAL(ioctlsocket(s, FIONBIO, &on), 0);
    FAILS(connect(s, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEWOULDBLOCK);
    FD_ZERO(&writable);
    FD_SET(s, &writable);
    EQUAL(select(0, NULL, &writable, NULL, &wait), 1);
    CHECK(FD_ISSET(s, &writable));
    FAILS(connect(s, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEISCONN);
    other = accept(l, NULL, NULL);
    CHECK(other != INVALID_SOCKET);
    closesocket(other);
    closesocket(s);
    on = 0;
    EQUAL(ioctlsocket(l, FIONBIO, &on), 0);
    CloseHandle(CreateThread(NULL, 0, closes_later, (void *)l, 0, NULL));
    FAILS(accept(l, NULL, NULL) == INVALID_SOCKET, WINE_DIFFERS("a listener that is closed is another error") ? WSA_OPERATION_ABORTED : WSAEINTR);
}

static void s18_an_address_is_free_when_its_connections_have_ended(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), a = tcp(), b, again = tcp(), third = tcp();
    EQUAL(connect(a, (struct sockaddr *)&at, sizeof at), 0);
    b = accept(l, NULL, NULL);
    EQUAL(closesocket(b), 0); /* this side closes first, and remembers the connection */
    EQUAL(closesocket(a), 0);
    EQUAL(closesocket(l), 0);
    EQUAL(bind(again, (struct sockaddr *)&at, sizeof at), 0);
    EQUAL(listen(again, 5), 0);
    FAILS(bind(third, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEADDRINUSE);
    closesocket(again);
    closesocket(third);
}

static void x03_a_blocked_call_is_cancelled(void)
{
    SOCKET a, b;
    FAILS(!CancelSynchronousIo(GetCurrentThread()), ERROR_NOT_FOUND);
    connected_pair(&a, &b);
    closesocket(a);
    closesocket(b);
}

static void names_and_numbers(void)
{
    struct addrinfo hints, *found = NULL;
    struct in_addr four;
    char text[64];
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    EQUAL(getaddrinfo("127.0.0.1", "80", &hints, &found), 0);
    CHECK(found && found->ai_addrlen == sizeof(struct sockaddr_in));
    CHECK(found && ((struct sockaddr_in *)found->ai_addr)->sin_port == htons(80));
    if (found)
        freeaddrinfo(found);
    EQUAL(inet_addr("127.0.0.1"), htonl(INADDR_LOOPBACK));
    EQUAL(inet_addr("1.2.3.256"), INADDR_NONE);
    four.s_addr = inet_addr("10.20.30.40");
    CHECK(strcmp(inet_ntoa(four), "10.20.30.40") == 0);
    EQUAL(inet_pton(AF_INET, "10.20.30.40", &four), 1);
    EQUAL(inet_pton(AF_INET, "10.20.30", &four), 0);
    CHECK(inet_ntop(AF_INET, &four, text, sizeof text) == text && strcmp(text, "10.20.30.40") == 0);
    CHECK(gethostbyname("localhost") != NULL);
    EQUAL(gethostname(text, sizeof text), 0);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(s01_without_an_overlapped_a_call_waits);
    RUN(s03_zero_bytes_are_the_orderly_end);
    RUN(s03_peek_takes_nothing_and_waitall_waits_for_all);
    RUN(s05_a_receive_without_room_waits_for_data_and_takes_none);
    RUN(s06_datagrams);
    RUN(s07_time_limits_bound_plain_receives_only);
    RUN(s08_a_socket_without_the_attribute_waits);
    RUN(s10_what_acceptex_refuses_at_once);
    RUN(s10_s11_acceptex_with_and_without_first_data);
    RUN(s12_s13_connectex_and_disconnectex);
    RUN(s15_transmitfile);
    RUN(s18_accept_and_connect);
    RUN(s18_an_address_is_free_when_its_connections_have_ended);
    RUN(x03_a_blocked_call_is_cancelled);
    RUN(names_and_numbers);
    return summary();
}
