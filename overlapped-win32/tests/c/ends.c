/* A, C, R, S, X: of an association, an operation, its end: what the tests of ports, routines and sockets leave. */
#include "check.h"

static HANDLE new_port(void)
{
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    CHECK(port != NULL);
    return port;
}

static BOOL packet(HANDLE port, DWORD *bytes, ULONG_PTR *key, OVERLAPPED **which, DWORD ms)
{
    return GetQueuedCompletionStatus(port, bytes, key, which, ms);
}

static void a02_a_handle_has_one_association_for_life(void)
{
    HANDLE port = new_port(), other = new_port();
    SOCKET a, b;
    connected_pair(&a, &b);
    CHECK(CreateIoCompletionPort((HANDLE)b, port, 1, 0) == port);
    FAILS(CreateIoCompletionPort((HANDLE)b, port, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    FAILS(CreateIoCompletionPort((HANDLE)b, other, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    FAILS(CreateIoCompletionPort((HANDLE)b, NULL, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    CloseHandle(port); /* nor afterwards */
    FAILS(CreateIoCompletionPort((HANDLE)b, other, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    closesocket(a);
    closesocket(b);
    CloseHandle(other);
}

static void a04_a_packet_carries_the_key_of_the_handle_of_the_call(void)
{
    HANDLE port = new_port();
    SOCKET a, b;
    OVERLAPPED of_a, of_b, *which = NULL;
    char in[2][4];
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    int i, seen = 0;
    memset(&of_a, 0, sizeof of_a);
    memset(&of_b, 0, sizeof of_b);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)a, port, (ULONG_PTR)-7, 0);
    CreateIoCompletionPort((HANDLE)b, port, 0x123456789ABCDEF0, 0);
    EQUAL(start_recv(a, in[0], 4, &of_a), 0);
    EQUAL(start_recv(b, in[1], 4, &of_b), 0);
    send(a, "toB!", 4, 0);
    send(b, "toA!", 4, 0);
    for (i = 0; i < 2; i++) {
        CHECK(packet(port, &bytes, &key, &which, 5000));
        CHECK(key == (which == &of_a ? (ULONG_PTR)-7 : 0x123456789ABCDEF0));
        seen |= which == &of_a ? 1 : which == &of_b ? 2 : 4;
    }
    EQUAL(seen, 3);
    CHECK(memcmp(in, "toA!toB!", 8) == 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void a07_an_accepted_socket_has_no_port_and_duplicates_share_one(void)
{
    struct sockaddr_in at;
    SOCKET l = listener_at(&at), a = socket(AF_INET, SOCK_STREAM, 0), b;
    HANDLE port = CreateIoCompletionPort((HANDLE)l, NULL, 1, 0), twin = NULL, other = new_port();
    OVERLAPPED overlapped, *which;
    char in[4];
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    memset(&overlapped, 0, sizeof overlapped);
    EQUAL(connect(a, (struct sockaddr *)&at, sizeof at), 0);
    b = accept(l, NULL, NULL);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    send(a, "abcd", 4, 0);
    FAILS(!packet(port, &bytes, &key, &which, 50), WAIT_TIMEOUT);
    CHECK(HasOverlappedIoCompleted(&overlapped));
    CHECK(CreateIoCompletionPort((HANDLE)b, other, 22, 0) == other);
    CHECK(DuplicateHandle(GetCurrentProcess(), (HANDLE)b, GetCurrentProcess(), &twin, 0, FALSE, DUPLICATE_SAME_ACCESS));
    FAILS(CreateIoCompletionPort(twin, port, 3, 0) == NULL, ERROR_INVALID_PARAMETER);
    FAILS(!ReadFile(twin, in, 4, NULL, &overlapped), ERROR_IO_PENDING);
    send(a, "efgh", 4, 0);
    CHECK(packet(other, &bytes, &key, &which, 5000));
    CHECK(which == &overlapped && bytes == 4 && key == 22);
    closesocket(a);
    closesocket(b);
    CloseHandle(twin);
    closesocket(l);
    CloseHandle(port);
    CloseHandle(other);
}

static SOCKET sender;
static volatile LONG rounds_sent;

static DWORD WINAPI sends_each_round(void *count)
{
    LONG i;
    for (i = 0; i < (LONG)(LONG_PTR)count; i++) {
        while (rounds_sent < i)
            Sleep(0);
        send(sender, "wxyz", 4, 0);
    }
    return 0;
}

static void c04_status_then_event_then_packet(void)
{
    enum { ROUNDS = 200 };
    HANDLE port = new_port(), thread;
    SOCKET b;
    OVERLAPPED overlapped, *which;
    char in[4];
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    int round;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    connected_pair(&sender, &b);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    rounds_sent = -1;
    thread = CreateThread(NULL, 0, sends_each_round, (void *)(LONG_PTR)ROUNDS, 0, NULL);
    for (round = 0; round < ROUNDS; round++) {
        memset(in, 0, sizeof in);
        overlapped.InternalHigh = 99;
        EQUAL(start_recv(b, in, 4, &overlapped), 0);
        InterlockedExchange(&rounds_sent, round);
        if (round % 2) {
            EQUAL(WaitForSingleObject(overlapped.hEvent, 5000), WAIT_OBJECT_0);
            EQUAL(overlapped.Internal, 0);
            EQUAL(overlapped.InternalHigh, 4);
            CHECK(memcmp(in, "wxyz", 4) == 0);
        }
        CHECK(packet(port, &bytes, &key, &which, 5000));
        EQUAL(overlapped.Internal, 0);
        EQUAL(WaitForSingleObject(overlapped.hEvent, 0), WAIT_OBJECT_0);
    }
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CloseHandle(thread);
    CloseHandle(overlapped.hEvent);
    closesocket(sender);
    closesocket(b);
    CloseHandle(port);
}

static void c10_a_result_is_asked_for(void)
{
    SOCKET a, b;
    OVERLAPPED overlapped, made;
    char in[4];
    DWORD bytes = 0;
    memset(&overlapped, 0, sizeof overlapped);
    memset(&made, 0, sizeof made);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    connected_pair(&a, &b);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    FAILS(!GetOverlappedResult((HANDLE)b, &overlapped, &bytes, FALSE), ERROR_IO_INCOMPLETE);
    EQUAL(send(a, "abc", 3, 0), 3);
    CHECK(GetOverlappedResult((HANDLE)b, &overlapped, &bytes, TRUE));
    EQUAL(bytes, 3);
    /* it works from status and count alone */
    made.Internal = 0xC0000120;
    made.InternalHigh = 77;
    FAILS(!GetOverlappedResult((HANDLE)b, &made, &bytes, FALSE), ERROR_OPERATION_ABORTED);
    EQUAL(bytes, 77);
    made.Internal = 0;
    CHECK(GetOverlappedResult((HANDLE)b, &made, &bytes, FALSE));
    EQUAL(bytes, 77);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void c11_each_operation_has_one_packet_whatever_ends_it(void)
{
    enum { WAYS = 5 };
    HANDLE port = new_port();
    SOCKET a[WAYS], b[WAYS];
    OVERLAPPED overlapped[WAYS], *which;
    char in[WAYS][4];
    DWORD bytes;
    ULONG_PTR key;
    struct linger hard = {1, 0};
    int i, seen[WAYS] = {0}, count = 0;
    memset(overlapped, 0, sizeof overlapped);
    for (i = 0; i < WAYS; i++) {
        connected_pair(&a[i], &b[i]);
        CreateIoCompletionPort((HANDLE)b[i], port, i, 0);
        EQUAL(start_recv(b[i], in[i], 4, &overlapped[i]), 0);
    }
    send(a[0], "abcd", 4, 0);
    shutdown(a[1], SD_SEND);
    setsockopt(a[2], SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard);
    closesocket(a[2]);
    CHECK(CancelIoEx((HANDLE)b[3], &overlapped[3]));
    closesocket(b[4]);
    while (count < 2 * WAYS && (packet(port, &bytes, &key, &which, 300) || which != NULL)) {
        count++;
        CHECK(which == &overlapped[key]);
        seen[key]++;
    }
    EQUAL(count, WAYS);
    for (i = 0; i < WAYS; i++) {
        EQUAL(seen[i], 1);
        if (i != 2)
            closesocket(a[i]);
        if (i != 4)
            closesocket(b[i]);
    }
    CHECK(!packet(port, &bytes, &key, &which, 20) && which == NULL);
    CloseHandle(port);
}

static volatile LONG freed;

static DWORD WINAPI frees_at_once(void *port)
{
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *which;
    while (packet((HANDLE)port, &bytes, &key, &which, INFINITE) && which != NULL) {
        memset(which, 0xDD, sizeof *which);
        free(which);
        InterlockedIncrement(&freed);
    }
    return 0;
}

static void c13_a_packet_may_be_dequeued_and_freed_before_its_call_has_returned(void)
{
    enum { COUNT = 3000 };
    HANDLE port = new_port(), threads[2];
    SOCKET a, b;
    char in[4];
    int i;
    freed = 0;
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    for (i = 0; i < 2; i++)
        threads[i] = CreateThread(NULL, 0, frees_at_once, port, 0, NULL);
    for (i = 0; i < COUNT; i++) {
        EQUAL(start_send(b, "ping", 4, calloc(1, sizeof(OVERLAPPED))), 0);
        EQUAL(recv_all(a, in, 4), 4);
    }
    for (i = 0; i < 500 && freed < COUNT; i++)
        Sleep(10);
    EQUAL(freed, COUNT);
    for (i = 0; i < 2; i++)
        PostQueuedCompletionStatus(port, 0, 0, NULL);
    EQUAL(WaitForMultipleObjects(2, threads, TRUE, 5000), WAIT_OBJECT_0);
    for (i = 0; i < 2; i++)
        CloseHandle(threads[i]);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static int ran;

static VOID CALLBACK counts(DWORD error, DWORD bytes, OVERLAPPED *overlapped, DWORD flags)
{
    (void)error, (void)bytes, (void)overlapped, (void)flags;
    ran++;
}

static void c16_another_error_than_pending_means_that_nothing_comes(void)
{
    HANDLE port = new_port();
    SOCKET with = socket(AF_INET, SOCK_STREAM, 0), without = socket(AF_INET, SOCK_STREAM, 0);
    OVERLAPPED overlapped, *which;
    WSABUF buffer;
    char in[4];
    DWORD bytes, flags = 0;
    ULONG_PTR key;
    buffer.buf = in;
    buffer.len = sizeof in;
    memset(&overlapped, 0, sizeof overlapped);
    CreateIoCompletionPort((HANDLE)with, port, 1, 0);
    EQUAL(start_recv(with, in, 4, &overlapped), WSAENOTCONN);
    EQUAL(start_send(with, in, 4, &overlapped), WINE_DIFFERS("a send before the connection is reset") ? WSAECONNRESET : WSAENOTCONN);
    FAILS(!packet(port, &bytes, &key, &which, 50), WAIT_TIMEOUT);
    ran = 0;
    FAILS(WSARecv(without, &buffer, 1, NULL, &flags, &overlapped, counts) == SOCKET_ERROR, WSAENOTCONN);
    EQUAL(SleepEx(50, TRUE), 0);
    EQUAL(ran, 0);
    closesocket(with);
    closesocket(without);
    CloseHandle(port);
}

struct freed_by_its_routine {
    OVERLAPPED overlapped;
    SOCKET s;
    int turns;
    char in[4];
};

static int apcs_inside, nested;

static VOID CALLBACK apc(ULONG_PTR unused)
{
    (void)unused;
    apcs_inside++;
}

static VOID CALLBACK goes_on(DWORD error, DWORD bytes, OVERLAPPED *overlapped, DWORD flags)
{
    struct freed_by_its_routine *io = (struct freed_by_its_routine *)overlapped;
    WSABUF buffer;
    CHECK(error == 0 && bytes == 4);
    ran++;
    if (--io->turns == 0) {
        memset(io, 0xDD, sizeof *io);
        free(io);
        return;
    }
    flags = 0;
    memset(&io->overlapped, 0, sizeof io->overlapped);
    buffer.buf = io->in;
    buffer.len = 4;
    CHECK(WSARecv(io->s, &buffer, 1, NULL, &flags, overlapped, goes_on) == 0 || WSAGetLastError() == WSA_IO_PENDING);
    CHECK(QueueUserAPC(apc, GetCurrentThread(), 0));
    if (apcs_inside == 0) {
        EQUAL(SleepEx(1000, TRUE), WAIT_IO_COMPLETION); /* an alertable wait inside runs the rest */
        CHECK(apcs_inside >= 1);
        nested = 1;
    }
}

static void r04_a_routine_may_start_queue_wait_and_free_its_overlapped(void)
{
    enum { TURNS = 20 };
    struct freed_by_its_routine *io = calloc(1, sizeof *io);
    SOCKET a, b;
    WSABUF buffer;
    DWORD flags = 0;
    int i;
    ran = apcs_inside = nested = 0;
    connected_pair(&a, &b);
    io->s = b;
    io->turns = TURNS;
    buffer.buf = io->in;
    buffer.len = 4;
    CHECK(WSARecv(b, &buffer, 1, NULL, &flags, &io->overlapped, goes_on) == 0 || WSAGetLastError() == WSA_IO_PENDING);
    for (i = 0; i < TURNS; i++)
        EQUAL(send(a, "turn", 4, 0), 4);
    for (i = 0; i < 500 && (ran < TURNS || apcs_inside < TURNS - 1); i++)
        SleepEx(10, TRUE);
    EQUAL(ran, TURNS);
    EQUAL(apcs_inside, TURNS - 1);
    EQUAL(nested, 1);
    closesocket(a);
    closesocket(b);
}

static void s16_extension_functions_come_by_guid(void)
{
    static const GUID known[] = {WSAID_ACCEPTEX, WSAID_CONNECTEX, WSAID_DISCONNECTEX, WSAID_TRANSMITFILE, WSAID_GETACCEPTEXSOCKADDRS};
    GUID unknown = {0x12345678, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}};
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    void *function = NULL;
    DWORD bytes = 0;
    int i;
    for (i = 0; i < 5; i++) {
        GUID guid = known[i];
        function = NULL;
        bytes = 0;
        EQUAL(WSAIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof guid, &function, sizeof function, &bytes, NULL, NULL), 0);
        CHECK(function != NULL);
        EQUAL(bytes, 8);
    }
    FAILS(WSAIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, &unknown, sizeof unknown, &function, sizeof function, &bytes, NULL, NULL) == SOCKET_ERROR, WSAEINVAL);
    closesocket(s);
}

static void x05_a_buffer_is_not_written_after_its_end_was_told(void)
{
    HANDLE port = new_port();
    SOCKET a, b;
    OVERLAPPED overlapped, *which;
    char in[64], next[4];
    DWORD bytes;
    ULONG_PTR key;
    int round, i;
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    for (round = 0; round < 20; round++) {
        memset(&overlapped, 0, sizeof overlapped);
        EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
        CHECK(CancelIoEx((HANDLE)b, &overlapped));
        CHECK(!packet(port, &bytes, &key, &which, 5000) && which == &overlapped);
        memset(in, 0x5E, sizeof in);
        memset(&overlapped, 0x5E, sizeof overlapped);
        EQUAL(send(a, "late", 4, 0), 4);
        Sleep(2);
        EQUAL(recv_all(b, next, 4), 4);
        CHECK(memcmp(next, "late", 4) == 0);
        for (i = 0; i < (int)sizeof in; i++)
            CHECK(in[i] == 0x5E);
        for (i = 0; i < (int)sizeof overlapped; i++)
            CHECK(((char *)&overlapped)[i] == 0x5E);
    }
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(a02_a_handle_has_one_association_for_life);
    RUN(a04_a_packet_carries_the_key_of_the_handle_of_the_call);
    RUN(a07_an_accepted_socket_has_no_port_and_duplicates_share_one);
    RUN(c04_status_then_event_then_packet);
    RUN(c10_a_result_is_asked_for);
    RUN(c11_each_operation_has_one_packet_whatever_ends_it);
    RUN(c13_a_packet_may_be_dequeued_and_freed_before_its_call_has_returned);
    RUN(c16_another_error_than_pending_means_that_nothing_comes);
    RUN(r04_a_routine_may_start_queue_wait_and_free_its_overlapped);
    RUN(s16_extension_functions_come_by_guid);
    RUN(x05_a_buffer_is_not_written_after_its_end_was_told);
    return summary();
}
