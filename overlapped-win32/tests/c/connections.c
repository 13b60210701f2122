/* S13, S14, E03: how connections end and begin again, and what their events tell. */
#include "check.h"

static const GUID accept_ex = WSAID_ACCEPTEX, connect_ex = WSAID_CONNECTEX, disconnect_ex = WSAID_DISCONNECTEX;

static SOCKET tcp(void)
{
    return WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
}

static SOCKET bound(void)
{
    struct sockaddr_in any;
    SOCKET s = tcp();
    memset(&any, 0, sizeof any);
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EQUAL(bind(s, (struct sockaddr *)&any, sizeof any), 0);
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

static void s13_a_socket_is_used_again(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = tcp();
    LPFN_ACCEPTEX AcceptEx_ = (LPFN_ACCEPTEX)extension(l, accept_ex);
    LPFN_DISCONNECTEX DisconnectEx_ = (LPFN_DISCONNECTEX)extension(l, disconnect_ex);
    OVERLAPPED overlapped = with_event();
    char room[128], in[8];
    DWORD bytes = 0, each = sizeof(struct sockaddr_in) + 16;
    int round, often;
    for (round = 0; round < 3; round++) {
        SOCKET client = tcp();
        FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, &overlapped), ERROR_IO_PENDING);
        EQUAL(connect(client, (struct sockaddr *)&at, sizeof at), 0);
        CHECK(ended(s, &overlapped, &bytes));
        if (round > 0 && WINE_DIFFERS("an overlapped receive of a socket that is used again is not told")) {
            EQUAL(start_recv(s, in, 4, &overlapped), 0);
            EQUAL(send(client, "ping", 4, 0), 4);
            EQUAL(WaitForSingleObject(overlapped.hEvent, 200), WAIT_TIMEOUT);
            closesocket(client);
            break;
        }
        for (often = 0; often < 40; often++) { /* a socket that is used often may be at hand in another way */
            EQUAL(start_recv(s, in, 4, &overlapped), 0);
            EQUAL(send(client, "ping", 4, 0), 4);
            CHECK(ended(s, &overlapped, &bytes));
            EQUAL(bytes, 4);
        }
        closesocket(client);
        EQUAL(recv(s, in, 4, 0), 0);
        FAILS(!DisconnectEx_(s, &overlapped, TF_REUSE_SOCKET, 0), ERROR_IO_PENDING);
        CHECK(ended(s, &overlapped, &bytes));
    }
    closesocket(s);
    closesocket(l);
    CloseHandle(overlapped.hEvent);
}

/* Accepted, and then the one that connects; on a port all the while. */
static void s13_a_socket_that_was_accepted_connects(void)
{
    struct sockaddr_in at, other;
    SOCKET l = listener_at(&at), second = listener_at(&other), s = tcp(), client = tcp(), peer;
    LPFN_ACCEPTEX AcceptEx_ = (LPFN_ACCEPTEX)extension(l, accept_ex);
    LPFN_CONNECTEX ConnectEx_ = (LPFN_CONNECTEX)extension(l, connect_ex);
    LPFN_DISCONNECTEX DisconnectEx_ = (LPFN_DISCONNECTEX)extension(l, disconnect_ex);
    HANDLE port = CreateIoCompletionPort((HANDLE)s, NULL, 77, 0);
    OVERLAPPED overlapped, *done = NULL, accepted = with_event();
    ULONG_PTR key = 0;
    char room[128], in[8];
    DWORD bytes = 9, each = sizeof(struct sockaddr_in) + 16;
    memset(&overlapped, 0, sizeof overlapped);
    CHECK(port != NULL);
    FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, &accepted), ERROR_IO_PENDING);
    EQUAL(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    CHECK(ended(l, &accepted, &bytes));
    EQUAL(setsockopt(s, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&l, sizeof l), 0);
    closesocket(client);
    EQUAL(recv(s, in, 8, 0), 0);
    FAILS(!DisconnectEx_(s, &overlapped, TF_REUSE_SOCKET, 0), ERROR_IO_PENDING);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &done, 5000));
    CHECK(bytes == 0 && key == 77 && done == &overlapped);
    /* it is as if it were bound, and nothing else */
    if (under_wine()) {
        FAILS(send(s, "x", 1, 0) == SOCKET_ERROR, WINE_DIFFERS("what was disconnected for reuse is not fit for ConnectEx") ? WSAESHUTDOWN : WSAENOTCONN);
        FAILS(!ConnectEx_(s, (struct sockaddr *)&other, sizeof other, "hello", 5, &bytes, &overlapped), WSAEISCONN);
        closesocket(s);
        closesocket(l);
        closesocket(second);
        CloseHandle(accepted.hEvent);
        CloseHandle(port);
        return;
    }
    FAILS(send(s, "x", 1, 0) == SOCKET_ERROR, WSAENOTCONN);
    memset(&overlapped, 0, sizeof overlapped);
    FAILS(!ConnectEx_(s, (struct sockaddr *)&other, sizeof other, "hello", 5, &bytes, &overlapped), WSA_IO_PENDING);
    done = NULL;
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &done, 5000));
    CHECK(bytes == 5 && key == 77 && done == &overlapped);
    peer = accept(second, NULL, NULL);
    EQUAL(recv_all(peer, in, 5), 5);
    CHECK(memcmp(in, "hello", 5) == 0);
    EQUAL(setsockopt(s, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0), 0);
    EQUAL(send(peer, "back", 4, 0), 4);
    memset(&overlapped, 0, sizeof overlapped);
    EQUAL(start_recv(s, in, 8, &overlapped), 0);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &done, 5000));
    CHECK(bytes == 4 && key == 77 && done == &overlapped && memcmp(in, "back", 4) == 0);
    closesocket(peer);
    closesocket(s);
    closesocket(l);
    closesocket(second);
    CloseHandle(accepted.hEvent);
    CloseHandle(port);
}

static void s13_a_socket_that_has_connected_connects_and_accepts_again(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = bound(), peer, client;
    LPFN_ACCEPTEX AcceptEx_ = (LPFN_ACCEPTEX)extension(l, accept_ex);
    LPFN_CONNECTEX ConnectEx_ = (LPFN_CONNECTEX)extension(l, connect_ex);
    LPFN_DISCONNECTEX DisconnectEx_ = (LPFN_DISCONNECTEX)extension(l, disconnect_ex);
    OVERLAPPED overlapped = with_event();
    char room[128], in[8];
    DWORD bytes = 0, each = sizeof(struct sockaddr_in) + 16;
    int round;
    for (round = 0; round < 3; round++) {
        if (round > 0 && WINE_DIFFERS("what was disconnected for reuse is not fit for ConnectEx")) {
            FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, NULL, 0, &bytes, &overlapped), WSAEISCONN);
            break;
        }
        FAILS(!ConnectEx_(s, (struct sockaddr *)&at, sizeof at, NULL, 0, &bytes, &overlapped), ERROR_IO_PENDING);
        CHECK(ended(s, &overlapped, &bytes));
        EQUAL(setsockopt(s, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0), 0);
        peer = accept(l, NULL, NULL);
        EQUAL(send(s, "ping", 4, 0), 4);
        EQUAL(recv_all(peer, in, 4), 4);
        /* the peer goes first: its end waits, and this one can connect to the same place at once */
        closesocket(peer);
        EQUAL(recv(s, in, 4, 0), 0);
        FAILS(!DisconnectEx_(s, &overlapped, TF_REUSE_SOCKET, 0), ERROR_IO_PENDING);
        CHECK(ended(s, &overlapped, &bytes));
        EQUAL(bytes, 0);
    }
    closesocket(s);
    /* and one that has connected accepts */
    s = tcp();
    EQUAL(connect(s, (struct sockaddr *)&at, sizeof at), 0);
    closesocket(accept(l, NULL, NULL));
    EQUAL(recv(s, in, 4, 0), 0);
    CHECK(DisconnectEx_(s, NULL, TF_REUSE_SOCKET, 0)); /* null is synchronous */
    client = tcp();
    FAILS(!AcceptEx_(l, s, room, 0, each, each, &bytes, &overlapped), ERROR_IO_PENDING);
    EQUAL(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    CHECK(ended(l, &overlapped, &bytes));
    EQUAL(send(client, "ping", 4, 0), 4);
    EQUAL(recv_all(s, in, 4), WINE_DIFFERS("what has connected is not fit for AcceptEx") ? 0 : 4);
    closesocket(client);
    closesocket(s);
    closesocket(l);
    CloseHandle(overlapped.hEvent);
}

static void s13_without_reuse_the_socket_has_had_its_connection(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = tcp(), peer;
    LPFN_DISCONNECTEX DisconnectEx_ = (LPFN_DISCONNECTEX)extension(l, disconnect_ex);
    char in[8];
    EQUAL(connect(s, (struct sockaddr *)&at, sizeof at), 0);
    peer = accept(l, NULL, NULL);
    CHECK(DisconnectEx_(s, NULL, 0, 0));
    FAILS(send(s, "x", 1, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    EQUAL(recv(peer, in, 8, 0), 0);
    EQUAL(send(peer, "late", 4, 0), 4);
    EQUAL(recv_all(s, in, 4), 4);
    FAILS(connect(s, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEISCONN);
    closesocket(s);
    closesocket(peer);
    s = tcp();
    FAILS(!DisconnectEx_(s, NULL, 0, 0), WSAENOTCONN);
    FAILS(!DisconnectEx_(s, NULL, TF_REUSE_SOCKET, 0), WSAENOTCONN);
    closesocket(s);
    closesocket(l);
}

static void s14_the_sending_half(void)
{
    SOCKET a, b;
    OVERLAPPED overlapped = with_event();
    DWORD bytes = 0;
    char in[8];
    connected_pair(&a, &b);
    EQUAL(shutdown(a, SD_SEND), 0);
    FAILS(send(a, "x", 1, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    EQUAL(start_send(a, "x", 1, &overlapped), WSAESHUTDOWN);
    EQUAL(recv(b, in, 8, 0), 0);
    /* receiving goes on, plain and overlapped */
    EQUAL(send(b, "plain", 5, 0), 5);
    EQUAL(recv_all(a, in, 5), 5);
    EQUAL(start_recv(a, in, 8, &overlapped), 0);
    EQUAL(send(b, "later", 5, 0), 5);
    CHECK(ended(a, &overlapped, &bytes) && bytes == 5);
    EQUAL(shutdown(a, SD_SEND), 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(overlapped.hEvent);
}

static void s14_the_receiving_half(void)
{
    SOCKET a, b;
    OVERLAPPED overlapped = with_event(), other = with_event();
    DWORD bytes = 0;
    char in[8], more[8];
    connected_pair(&a, &b);
    EQUAL(start_recv(a, in, 8, &overlapped), 0);
    EQUAL(shutdown(a, SD_RECEIVE), 0);
    /* what is pending completes, new ones do not begin */
    FAILS(recv(a, more, 8, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    EQUAL(start_recv(a, more, 8, &other), WSAESHUTDOWN);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 20), WAIT_TIMEOUT);
    EQUAL(send(b, "last", 4, 0), 4);
    CHECK(ended(a, &overlapped, &bytes));
    CHECK(bytes == 4 && memcmp(in, "last", 4) == 0);
    FAILS(recv(a, more, 8, 0) == SOCKET_ERROR, WSAESHUTDOWN);
    /* sending goes on */
    EQUAL(send(a, "on", 2, 0), 2);
    EQUAL(recv_all(b, more, 2), 2);
    EQUAL(shutdown(a, SD_RECEIVE), 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(overlapped.hEvent);
    CloseHandle(other.hEvent);
}

static void s14_what_shutdown_refuses_and_both_halves(void)
{
    struct sockaddr_in at, name;
    SOCKET a, b, s = tcp(), l = listener_at(&at);
    int len = sizeof name;
    connected_pair(&a, &b);
    FAILS(shutdown(s, SD_BOTH) == SOCKET_ERROR, WSAENOTCONN);
    FAILS(shutdown(s, SD_SEND) == SOCKET_ERROR, WSAENOTCONN);
    FAILS(shutdown(s, SD_RECEIVE) == SOCKET_ERROR, WSAENOTCONN);
    FAILS(shutdown(l, SD_BOTH) == SOCKET_ERROR, WSAENOTCONN);
    FAILS(shutdown(l, SD_RECEIVE) == SOCKET_ERROR, WSAENOTCONN);
    FAILS(shutdown(a, 7) == SOCKET_ERROR, WSAEINVAL);
    FAILS(shutdown(a, -1) == SOCKET_ERROR, WSAEINVAL);
    EQUAL(shutdown(a, SD_RECEIVE), 0);
    EQUAL(shutdown(a, SD_SEND), 0);
    EQUAL(shutdown(a, SD_BOTH), 0);
    EQUAL(shutdown(a, SD_BOTH), 0);
    EQUAL(getpeername(a, (struct sockaddr *)&name, &len), 0);
    EQUAL(len, sizeof name);
    EQUAL(shutdown(b, SD_BOTH), 0); /* the peer's halves, too */
    EQUAL(getpeername(a, (struct sockaddr *)&name, &len), WINE_DIFFERS("who the peer was is forgotten once both ends have gone") ? SOCKET_ERROR : 0);
    EQUAL(getpeername(b, (struct sockaddr *)&name, &len), under_wine() ? SOCKET_ERROR : 0);
    closesocket(a);
    closesocket(b);
    closesocket(s);
    closesocket(l);
}

static void e03_network_events(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), client = tcp(), s;
    WSAEVENT listening = WSACreateEvent(), event = WSACreateEvent();
    WSANETWORKEVENTS events;
    char in[4];
    EQUAL(WSAEventSelect(l, listening, FD_ACCEPT | FD_CLOSE), 0);
    EQUAL(WaitForSingleObject(listening, 20), WAIT_TIMEOUT);
    EQUAL(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    EQUAL(WaitForSingleObject(listening, 5000), WAIT_OBJECT_0);
    memset(&events, 0x55, sizeof events);
    EQUAL(WSAEnumNetworkEvents(l, listening, &events), 0);
    EQUAL(events.lNetworkEvents, FD_ACCEPT);
    EQUAL(events.iErrorCode[FD_ACCEPT_BIT], 0);
    EQUAL(events.iErrorCode[FD_READ_BIT], 0x55555555);
    EQUAL(WaitForSingleObject(listening, 0), WAIT_TIMEOUT);
    s = accept(l, NULL, NULL);
    CHECK(s != INVALID_SOCKET);
    EQUAL(WSAEventSelect(s, event, FD_READ | FD_WRITE | FD_CLOSE), 0);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(WSAEnumNetworkEvents(s, event, &events), 0);
    EQUAL(events.lNetworkEvents, FD_WRITE);
    EQUAL(send(client, "abcdefgh", 8, 0), 8);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(WSAEnumNetworkEvents(s, event, &events), 0);
    EQUAL(events.lNetworkEvents, FD_READ);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT); /* not again before a receive */
    EQUAL(recv(s, in, 4, 0), 4);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0); /* the rest */
    EQUAL(WSAEnumNetworkEvents(s, event, &events), 0);
    EQUAL(events.lNetworkEvents, FD_READ);
    EQUAL(recv(s, in, 4, 0), 4);
    FAILS(recv(s, in, 4, 0) == SOCKET_ERROR, WSAEWOULDBLOCK);
    closesocket(client);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(WSAEnumNetworkEvents(s, event, &events), 0);
    EQUAL(events.lNetworkEvents, FD_CLOSE);
    EQUAL(events.iErrorCode[FD_CLOSE_BIT], 0);
    {
        u_long off = 0;
        FAILS(ioctlsocket(s, FIONBIO, &off) == SOCKET_ERROR, WSAEINVAL);
    }
    closesocket(s);
    closesocket(l);
    WSACloseEvent(listening);
    WSACloseEvent(event);
}

/* What is recorded now; the slots of what is not stay as they are. */
static LONG recorded(SOCKET s, WSAEVENT event, int bit, int *error)
{
    WSANETWORKEVENTS events;
    int i;
    memset(&events, 0x55, sizeof events);
    EQUAL(WSAEnumNetworkEvents(s, event, &events), 0);
    for (i = 0; i < FD_MAX_EVENTS; i++)
        if (!(events.lNetworkEvents & 1 << i))
            EQUAL(events.iErrorCode[i], 0x55555555);
    if (error)
        *error = events.iErrorCode[bit];
    return events.lNetworkEvents;
}

static void e03_a_connect_is_told(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), s = tcp(), peer;
    WSAEVENT event = WSACreateEvent();
    int error = -1;
    char in[4];
    EQUAL(WSAEventSelect(s, event, FD_CONNECT | FD_READ | FD_WRITE | FD_CLOSE), 0);
    EQUAL(recorded(s, event, 0, NULL), 0);
    /* it does not block any more */
    FAILS(connect(s, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEWOULDBLOCK);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    peer = accept(l, NULL, NULL);
    EQUAL(recorded(s, event, FD_CONNECT_BIT, &error), FD_CONNECT | FD_WRITE);
    EQUAL(error, 0);
    /* enumerating has cleared it, and it comes once */
    EQUAL(WaitForSingleObject(event, 0), WAIT_TIMEOUT);
    EQUAL(recorded(s, event, 0, NULL), 0);
    EQUAL(send(s, "x", 1, 0), 1);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT);
    EQUAL(recv(peer, in, 4, 0), 1);
    closesocket(peer);
    closesocket(s);
    closesocket(l);
    /* nobody listens any more */
    s = tcp();
    WSAResetEvent(event);
    EQUAL(WSAEventSelect(s, event, FD_CONNECT | FD_WRITE), 0);
    FAILS(connect(s, (struct sockaddr *)&at, sizeof at) == SOCKET_ERROR, WSAEWOULDBLOCK);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(s, event, FD_CONNECT_BIT, &error), FD_CONNECT);
    EQUAL(error, WSAECONNREFUSED);
    closesocket(s);
    WSACloseEvent(event);
}

static void e03_accepting_tells_of_the_next(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), a = tcp(), b = tcp(), first, second;
    WSAEVENT event = WSACreateEvent();
    EQUAL(WSAEventSelect(l, event, FD_ACCEPT), 0);
    FAILS(accept(l, NULL, NULL) == INVALID_SOCKET, WSAEWOULDBLOCK);
    EQUAL(connect(a, (struct sockaddr *)&at, sizeof at), 0);
    EQUAL(connect(b, (struct sockaddr *)&at, sizeof at), 0);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(l, event, 0, NULL), FD_ACCEPT);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT); /* not again before an accept */
    first = accept(l, NULL, NULL);
    CHECK(first != INVALID_SOCKET);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(l, event, 0, NULL), FD_ACCEPT);
    second = accept(l, NULL, NULL);
    CHECK(second != INVALID_SOCKET);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    closesocket(first);
    closesocket(second);
    closesocket(l);
    WSACloseEvent(event);
}

static void e03_a_send_that_would_block_tells_when_there_is_room(void)
{
    SOCKET a, b;
    WSAEVENT event = WSACreateEvent();
    static char block[65536];
    long long sent = 0, received = 0;
    int now;
    connected_pair(&a, &b);
    EQUAL(WSAEventSelect(a, event, FD_WRITE), 0);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(a, event, 0, NULL), FD_WRITE);
    while ((now = send(a, block, sizeof block, 0)) > 0)
        sent += now;
    EQUAL(WSAGetLastError(), WSAEWOULDBLOCK);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT);
    while (received < sent) {
        now = recv(b, block, sizeof block, 0);
        CHECK(now > 0);
        if (now <= 0)
            break;
        received += now;
    }
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(a, event, 0, NULL), FD_WRITE);
    CHECK(send(a, block, 1, 0) == 1);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    WSACloseEvent(event);
}

static void e03_a_reset_is_told_and_nothing_after_the_selection_has_ended(void)
{
    SOCKET a, b;
    WSAEVENT event = WSACreateEvent();
    struct linger hard = {1, 0};
    u_long off = 0;
    int error = -1;
    connected_pair(&a, &b);
    EQUAL(WSAEventSelect(a, event, FD_READ | FD_CLOSE), 0);
    FAILS(ioctlsocket(a, FIONBIO, &off) == SOCKET_ERROR, WSAEINVAL);
    EQUAL(setsockopt(b, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard), 0);
    closesocket(b);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    EQUAL(recorded(a, event, FD_CLOSE_BIT, &error), FD_CLOSE);
    EQUAL(error, WINE_DIFFERS("closing with SO_LINGER and no time is an orderly end") ? 0 : WSAECONNRESET);
    closesocket(a);
    connected_pair(&a, &b);
    EQUAL(WSAEventSelect(a, event, FD_READ), 0);
    EQUAL(WSAEventSelect(a, NULL, 0), 0);
    EQUAL(send(b, "x", 1, 0), 1);
    EQUAL(WaitForSingleObject(event, 20), WAIT_TIMEOUT);
    EQUAL(ioctlsocket(a, FIONBIO, &off), 0);
    closesocket(a);
    closesocket(b);
    WSACloseEvent(event);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(s13_a_socket_is_used_again);
    RUN(s13_a_socket_that_was_accepted_connects);
    RUN(s13_a_socket_that_has_connected_connects_and_accepts_again);
    RUN(s13_without_reuse_the_socket_has_had_its_connection);
    RUN(s14_the_sending_half);
    RUN(s14_the_receiving_half);
    RUN(s14_what_shutdown_refuses_and_both_halves);
    RUN(e03_network_events);
    RUN(e03_a_connect_is_told);
    RUN(e03_accepting_tells_of_the_next);
    RUN(e03_a_send_that_would_block_tells_when_there_is_room);
    RUN(e03_a_reset_is_told_and_nothing_after_the_selection_has_ended);
    return summary();
}
