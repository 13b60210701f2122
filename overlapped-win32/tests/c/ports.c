/* P and A: ports and their workers, association; what of C concerns packets. */
#include "check.h"

static HANDLE new_port(DWORD concurrency)
{
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, concurrency);
    CHECK(port != NULL);
    return port;
}

static void p01_packets_are_queued_first_in_first_out(void)
{
    HANDLE port = new_port(1);
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *overlapped;
    int i;
    for (i = 0; i < 1000; i++)
        CHECK(PostQueuedCompletionStatus(port, i, i * 3, NULL));
    for (i = 0; i < 1000; i++) {
        CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0));
        EQUAL(bytes, i);
        EQUAL(key, i * 3);
    }
    CHECK(CloseHandle(port));
}

static void p09_a_timeout_leaves_key_and_bytes_alone(void)
{
    HANDLE port = new_port(0);
    DWORD bytes = 77;
    ULONG_PTR key = 88;
    OVERLAPPED *overlapped = (OVERLAPPED *)&key;
    ULONGLONG begun;
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0), WAIT_TIMEOUT);
    CHECK(overlapped == NULL);
    EQUAL(bytes, 77);
    EQUAL(key, 88);
    begun = GetTickCount64();
    overlapped = (OVERLAPPED *)&key;
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 60), WAIT_TIMEOUT);
    CHECK(overlapped == NULL);
    CHECK(GetTickCount64() - begun >= 45); /* the clock's own steps are 16 ms on Windows */
    CloseHandle(port);
}

static DWORD WINAPI wait_for_packet(void *port)
{
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *overlapped = (OVERLAPPED *)&bytes;
    if (GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE))
        return 0;
    return overlapped == NULL ? GetLastError() : 1;
}

static void p10_closing_a_port_releases_its_waiters(void)
{
    HANDLE port = new_port(1), threads[3];
    DWORD code;
    int i;
    for (i = 0; i < 3; i++)
        threads[i] = CreateThread(NULL, 0, wait_for_packet, port, 0, NULL);
    Sleep(100);
    CHECK(CloseHandle(port));
    if (WINE_DIFFERS("they wait for ever")) {
        EQUAL(WaitForMultipleObjects(3, threads, FALSE, 200), WAIT_TIMEOUT);
        return;
    }
    EQUAL(WaitForMultipleObjects(3, threads, TRUE, 5000), WAIT_OBJECT_0);
    for (i = 0; i < 3; i++) {
        CHECK(GetExitCodeThread(threads[i], &code));
        EQUAL(code, ERROR_ABANDONED_WAIT_0);
        CloseHandle(threads[i]);
    }
}

static void p12_completions_after_the_port_was_closed_do_no_harm(void)
{
    HANDLE port = new_port(1);
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CHECK(CreateIoCompletionPort((HANDLE)b, port, 1, 0) == port);
    EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
    CHECK(CloseHandle(port));
    EQUAL(send(a, "abcd", 4, 0), 4);
    {
        int i;
        for (i = 0; i < 200 && !HasOverlappedIoCompleted(&overlapped); i++)
            Sleep(10);
    }
    CHECK(HasOverlappedIoCompleted(&overlapped));
    EQUAL(overlapped.InternalHigh, 4);
    EQUAL(send(b, "efgh", 4, 0), 4);
    EQUAL(recv_all(a, in, 4), 4);
    closesocket(a);
    closesocket(b);
}

static void p13_a_batch_takes_what_is_there_in_order_and_leaves_the_rest(void)
{
    HANDLE port = new_port(1);
    OVERLAPPED_ENTRY entries[8];
    ULONG taken = 0;
    int i;
    for (i = 0; i < 10; i++)
        PostQueuedCompletionStatus(port, i, i + 100, (OVERLAPPED *)(ULONG_PTR)(i + 8));
    CHECK(GetQueuedCompletionStatusEx(port, entries, 8, &taken, INFINITE, FALSE));
    EQUAL(taken, 8);
    for (i = 0; i < (int)taken; i++) {
        EQUAL(entries[i].dwNumberOfBytesTransferred, i);
        EQUAL(entries[i].lpCompletionKey, i + 100);
        EQUAL((ULONG_PTR)entries[i].lpOverlapped, i + 8);
    }
    CHECK(GetQueuedCompletionStatusEx(port, entries, 8, &taken, INFINITE, FALSE));
    EQUAL(taken, 2);
    FAILS(!GetQueuedCompletionStatusEx(port, entries, 8, &taken, 10, FALSE), WAIT_TIMEOUT);
    CloseHandle(port);
}

static int apcs;

static VOID CALLBACK count_apc(ULONG_PTR by)
{
    apcs += (int)by;
}

static void p14_an_alertable_batch_runs_apcs(void)
{
    HANDLE port = new_port(1);
    OVERLAPPED_ENTRY entry;
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *overlapped;
    ULONG taken = 0;
    apcs = 0;
    CHECK(QueueUserAPC(count_apc, GetCurrentThread(), 1));
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0), WAIT_TIMEOUT);
    EQUAL(apcs, 0); /* the plain one is not alertable */
    FAILS(!GetQueuedCompletionStatusEx(port, &entry, 1, &taken, 1000, TRUE), WAIT_IO_COMPLETION);
    EQUAL(apcs, 1);
    /* a thread that has dequeued before: the packet wins, and the APC stays */
    QueueUserAPC(count_apc, GetCurrentThread(), 10);
    PostQueuedCompletionStatus(port, 5, 6, NULL);
    CHECK(GetQueuedCompletionStatusEx(port, &entry, 1, &taken, 1000, TRUE));
    EQUAL(apcs, 1);
    EQUAL(SleepEx(0, TRUE), WAIT_IO_COMPLETION);
    EQUAL(apcs, 11);
    CloseHandle(port);
}

static HANDLE sleeper, sleepers_port;

/* An APC, a packet and an APC again, each when the sleeper has presumably gone to sleep. */
static DWORD WINAPI disturb(void *nothing)
{
    (void)nothing;
    Sleep(20);
    QueueUserAPC(count_apc, sleeper, 1);
    Sleep(20);
    PostQueuedCompletionStatus(sleepers_port, 7, 8, NULL);
    Sleep(20);
    QueueUserAPC(count_apc, sleeper, 1);
    return 0;
}

static void p14_an_alertable_batch_hears_of_both_while_it_waits(void)
{
    OVERLAPPED_ENTRY entry;
    ULONG taken = 0;
    HANDLE thread;
    apcs = 0;
    sleepers_port = new_port(1);
    CHECK(DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &sleeper, 0, FALSE, DUPLICATE_SAME_ACCESS));
    thread = CreateThread(NULL, 0, disturb, NULL, 0, NULL);
    FAILS(!GetQueuedCompletionStatusEx(sleepers_port, &entry, 1, &taken, INFINITE, TRUE), WAIT_IO_COMPLETION);
    EQUAL(apcs, 1);
    CHECK(GetQueuedCompletionStatusEx(sleepers_port, &entry, 1, &taken, INFINITE, TRUE));
    EQUAL(taken, 1);
    EQUAL(entry.dwNumberOfBytesTransferred, 7);
    EQUAL(apcs, 1);
    FAILS(!GetQueuedCompletionStatusEx(sleepers_port, &entry, 1, &taken, INFINITE, TRUE), WAIT_IO_COMPLETION);
    EQUAL(apcs, 2);
    EQUAL(WaitForSingleObject(thread, INFINITE), WAIT_OBJECT_0);
    CloseHandle(thread);
    CloseHandle(sleeper);
    CloseHandle(sleepers_port);
}

static void p15_a_posted_packet_arrives_unchanged(void)
{
    HANDLE port = new_port(0);
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *overlapped;
    CHECK(PostQueuedCompletionStatus(port, 0xFFFFFFFF, (ULONG_PTR)-2, (OVERLAPPED *)(ULONG_PTR)0x13));
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE));
    EQUAL(bytes, 0xFFFFFFFF);
    CHECK(key == (ULONG_PTR)-2);
    EQUAL((ULONG_PTR)overlapped, 0x13);
    CHECK(PostQueuedCompletionStatus(port, 0, 0, NULL));
    overlapped = (OVERLAPPED *)&bytes;
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE));
    CHECK(overlapped == NULL && bytes == 0 && key == 0);
    CloseHandle(port);
}

static void p16_a_dequeue_leaves_the_last_error_and_refuses_what_is_no_port(void)
{
    HANDLE port = new_port(0), event = CreateEventA(NULL, TRUE, FALSE, NULL);
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *overlapped;
    PostQueuedCompletionStatus(port, 0, 0, NULL);
    SetLastError(4711);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0));
    EQUAL(GetLastError(), 4711);
    FAILS(!GetQueuedCompletionStatus(event, &bytes, &key, &overlapped, 0), ERROR_INVALID_HANDLE);
    FAILS(!PostQueuedCompletionStatus(event, 0, 0, NULL), ERROR_INVALID_HANDLE);
    CloseHandle(event);
    FAILS(!GetQueuedCompletionStatus(event, &bytes, &key, &overlapped, 0), ERROR_INVALID_HANDLE);
    CloseHandle(port);
    FAILS(!PostQueuedCompletionStatus(port, 0, 0, NULL), ERROR_INVALID_HANDLE);
}

static void a01_three_ways_to_call_create(void)
{
    HANDLE port = new_port(0), other;
    SOCKET a, b;
    connected_pair(&a, &b);
    CHECK(CreateIoCompletionPort((HANDLE)a, port, 1, 0) == port);
    other = CreateIoCompletionPort((HANDLE)b, NULL, 2, 0);
    CHECK(other != NULL && other != port);
    FAILS(CreateIoCompletionPort(INVALID_HANDLE_VALUE, port, 0, 0) == NULL, ERROR_INVALID_PARAMETER);
    /* a second association of either kind */
    FAILS(CreateIoCompletionPort((HANDLE)a, port, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    FAILS(CreateIoCompletionPort((HANDLE)a, other, 1, 0) == NULL, ERROR_INVALID_PARAMETER);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
    CloseHandle(other);
}

static void a03_what_is_not_overlapped_or_no_io_is_refused(void)
{
    HANDLE port = new_port(0), event = CreateEventA(NULL, TRUE, FALSE, NULL);
    SOCKET plain = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, 0);
    FAILS(CreateIoCompletionPort((HANDLE)plain, port, 0, 0) == NULL, ERROR_INVALID_PARAMETER);
    FAILS(CreateIoCompletionPort((HANDLE)(ULONG_PTR)0x7FFFFFF0, port, 0, 0) == NULL, ERROR_INVALID_HANDLE);
    CHECK(CreateIoCompletionPort(event, port, 0, 0) == NULL);
    closesocket(plain);
    CloseHandle(event);
    CloseHandle(port);
}

/* One packet, within a few seconds. */
static BOOL packet(HANDLE port, DWORD *bytes, ULONG_PTR *key, OVERLAPPED **overlapped)
{
    return GetQueuedCompletionStatus(port, bytes, key, overlapped, 5000);
}

static void a05_an_association_counts_when_the_operation_ends(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[8];
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED first, second, *which;
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    connected_pair(&a, &b);
    EQUAL(start_recv(b, in, 4, &first), 0);
    CHECK(CreateIoCompletionPort((HANDLE)b, port, 9, 0) == port);
    EQUAL(start_recv(b, in + 4, 4, &second), 0);
    EQUAL(send(a, "abcdefgh", 8, 0), 8);
    CHECK(packet(port, &bytes, &key, &which));
    CHECK(which == &first && key == 9 && bytes == 4);
    CHECK(packet(port, &bytes, &key, &which));
    CHECK(which == &second && key == 9 && bytes == 4);
    CHECK(memcmp(in, "abcdefgh", 8) == 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static VOID CALLBACK no_routine(DWORD error, DWORD bytes, OVERLAPPED *overlapped, DWORD flags)
{
    (void)error, (void)bytes, (void)overlapped, (void)flags;
}

static void a06_a_routine_on_an_associated_handle_is_refused(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    WSABUF buffer;
    char in[8];
    DWORD flags = 0, bytes;
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    buffer.buf = in;
    buffer.len = sizeof in;
    connected_pair(&a, &b);
    CHECK(CreateIoCompletionPort((HANDLE)b, port, 9, 0) == port);
    FAILS(WSARecv(b, &buffer, 1, &bytes, &flags, &overlapped, no_routine) == SOCKET_ERROR, WSAEINVAL);
    FAILS(WSASend(b, &buffer, 1, &bytes, 0, &overlapped, no_routine) == SOCKET_ERROR, WSAEINVAL);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void a08_plain_calls_queue_no_packets(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[4];
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *which;
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)a, port, 1, 0);
    CreateIoCompletionPort((HANDLE)b, port, 2, 0);
    EQUAL(send(a, "abcd", 4, 0), 4);
    EQUAL(recv_all(b, in, 4), 4);
    EQUAL(shutdown(a, SD_SEND), 0);
    EQUAL(recv(b, in, 4, 0), 0);
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 50), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void c01_an_operation_that_succeeds_at_once_queues_its_packet(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)a, port, 1, 0);
    EQUAL(start_send(a, "abcd", 4, &overlapped), 0);
    CHECK(packet(port, &bytes, &key, &which));
    CHECK(which == &overlapped && bytes == 4 && key == 1);
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 20), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void c02_one_that_fails_at_once_queues_none(void)
{
    HANDLE port = new_port(0);
    SOCKET s = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    WSABUF buffer;
    char in[4];
    DWORD flags = 0, count = 99, bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which;
    memset(&overlapped, 0, sizeof overlapped);
    buffer.buf = in;
    buffer.len = sizeof in;
    CreateIoCompletionPort((HANDLE)s, port, 1, 0);
    FAILS(WSARecv(s, &buffer, 1, &count, &flags, &overlapped, NULL) == SOCKET_ERROR, WSAENOTCONN);
    EQUAL(count, 99);
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 20), WAIT_TIMEOUT);
    closesocket(s);
    CloseHandle(port);
}

static void c03_a_failed_operations_packet_has_all_it_needs(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[4];
    DWORD bytes = 1;
    ULONG_PTR key = 0;
    OVERLAPPED overlapped, *which = NULL;
    struct linger hard = {1, 0};
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
    EQUAL(setsockopt(a, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard), 0);
    closesocket(a);
    FAILS(!packet(port, &bytes, &key, &which), ERROR_NETNAME_DELETED);
    CHECK(which == &overlapped && key == 5 && bytes == 0);
    {
        DWORD flags;
        FAILS(!WSAGetOverlappedResult(b, &overlapped, &bytes, FALSE, &flags), WSAECONNRESET);
        FAILS(!GetOverlappedResult((HANDLE)b, &overlapped, &bytes, FALSE), ERROR_NETNAME_DELETED);
        EQUAL((DWORD)overlapped.Internal, 0xC000020D);
    }
    closesocket(b);
    CloseHandle(port);
}

static void c05_the_low_bit_of_the_event_suppresses_the_packet(void)
{
    HANDLE port = new_port(0), event = CreateEventA(NULL, TRUE, FALSE, NULL);
    SOCKET a, b;
    char in[4];
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = (HANDLE)((ULONG_PTR)event | 1);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
    EQUAL(WaitForSingleObject(event, 0), WAIT_TIMEOUT);
    send(a, "abcd", 4, 0);
    EQUAL(WaitForSingleObject(event, 5000), WAIT_OBJECT_0);
    CHECK(GetOverlappedResult((HANDLE)b, &overlapped, &bytes, TRUE));
    EQUAL(bytes, 4);
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 50), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
    CloseHandle(event);
}

static void c08_while_pending_the_status_says_so(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    WSABUF buffer;
    char in[4];
    DWORD flags = 0, count = 99, bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.InternalHigh = 1234;
    buffer.buf = in;
    buffer.len = sizeof in;
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    FAILS(WSARecv(b, &buffer, 1, &count, &flags, &overlapped, NULL) == SOCKET_ERROR, WSA_IO_PENDING);
    EQUAL(overlapped.Internal, 0x103);
    EQUAL(overlapped.InternalHigh, 1234);
    EQUAL(count, 99);
    FAILS(!GetOverlappedResult((HANDLE)b, &overlapped, &bytes, FALSE), ERROR_IO_INCOMPLETE);
    send(a, "abc", 3, 0);
    CHECK(packet(port, &bytes, &key, &which));
    EQUAL(overlapped.Internal, 0);
    EQUAL(overlapped.InternalHigh, 3);
    EQUAL(count, 99);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void x02_a_cancelled_operation_queues_a_packet_and_loses_nothing(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[4];
    DWORD bytes = 1;
    ULONG_PTR key;
    OVERLAPPED overlapped, other, *which;
    memset(&overlapped, 0, sizeof overlapped);
    memset(&other, 0, sizeof other);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    if (WINE_DIFFERS("CancelIoEx of a socket without operations is TRUE"))
        CHECK(CancelIoEx((HANDLE)b, NULL));
    else
        FAILS(!CancelIoEx((HANDLE)b, NULL), ERROR_NOT_FOUND);
    CHECK(CancelIo((HANDLE)b)); /* TRUE even if there is nothing */
    EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
    FAILS(!CancelIoEx((HANDLE)b, &other), ERROR_NOT_FOUND);
    CHECK(CancelIoEx((HANDLE)b, &overlapped));
    FAILS(!packet(port, &bytes, &key, &which), ERROR_OPERATION_ABORTED);
    CHECK(which == &overlapped && bytes == 0 && key == 5);
    FAILS(!CancelIoEx((HANDLE)b, &overlapped), ERROR_NOT_FOUND);
    EQUAL((DWORD)overlapped.Internal, 0xC0000120);
    EQUAL(send(a, "abcd", 4, 0), 4);
    EQUAL(recv_all(b, in, 4), 4);
    CHECK(memcmp(in, "abcd", 4) == 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void s09_closing_a_socket_tells_each_operation(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[4];
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which = NULL;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    EQUAL(start_recv(b, in, sizeof in, &overlapped), 0);
    EQUAL(closesocket(b), 0);
    CHECK(!packet(port, &bytes, &key, &which));
    if (WINE_DIFFERS("the receive of a closed socket ends with another error"))
        EQUAL(GetLastError(), 676); /* ERROR_HANDLES_CLOSED */
    else
        EQUAL(GetLastError(), ERROR_CONNECTION_ABORTED);
    CHECK(which == &overlapped && key == 5);
    FAILS(closesocket(b) == SOCKET_ERROR, WSAENOTSOCK);
    FAILS(send(b, "x", 1, 0) == SOCKET_ERROR, WSAENOTSOCK);
    FAILS(start_recv(b, in, 4, &overlapped) == WSAENOTSOCK, WSAENOTSOCK);
    closesocket(a);
    CloseHandle(port);
}

static void s09_what_was_sent_before_the_socket_was_closed_arrives(void)
{
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    EQUAL(start_send(b, "bye!", 4, &overlapped), 0);
    EQUAL(closesocket(b), 0);
    EQUAL(recv_all(a, in, 4), 4);
    CHECK(memcmp(in, "bye!", 4) == 0);
    EQUAL(recv(a, in, 4, 0), 0);
    closesocket(a);
    CloseHandle(port);
}

static void s02_receives_fill_in_posting_order(void)
{
    enum { COUNT = 8 };
    HANDLE port = new_port(0);
    SOCKET a, b;
    char in[COUNT][4], out[COUNT * 4];
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped[COUNT], *which;
    int i;
    memset(overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    for (i = 0; i < COUNT; i++)
        EQUAL(start_recv(b, in[i], 4, &overlapped[i]), 0);
    for (i = 0; i < COUNT * 4; i++)
        out[i] = (char)i;
    EQUAL(send(a, out, sizeof out, 0), sizeof out);
    for (i = 0; i < COUNT; i++) {
        CHECK(packet(port, &bytes, &key, &which));
        CHECK(which == &overlapped[i] && bytes == 4);
    }
    CHECK(memcmp(in, out, sizeof out) == 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void s04_a_large_send_completes_once_in_full(void)
{
    enum { SIZE = 1 << 20 };
    HANDLE port = new_port(0);
    SOCKET a, b;
    char *out = malloc(SIZE), *in = malloc(SIZE);
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED overlapped, *which;
    int i;
    memset(&overlapped, 0, sizeof overlapped);
    for (i = 0; i < SIZE; i++)
        out[i] = (char)(i * 7 ^ i >> 9);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 5, 0);
    EQUAL(start_send(b, out, SIZE, &overlapped), 0);
    EQUAL(recv_all(a, in, SIZE), SIZE);
    CHECK(memcmp(in, out, SIZE) == 0);
    CHECK(packet(port, &bytes, &key, &which));
    CHECK(which == &overlapped && bytes == SIZE);
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 20), WAIT_TIMEOUT);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
    free(out);
    free(in);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(p01_packets_are_queued_first_in_first_out);
    RUN(p09_a_timeout_leaves_key_and_bytes_alone);
    RUN(p10_closing_a_port_releases_its_waiters);
    RUN(p12_completions_after_the_port_was_closed_do_no_harm);
    RUN(p13_a_batch_takes_what_is_there_in_order_and_leaves_the_rest);
    RUN(p14_an_alertable_batch_runs_apcs);
    RUN(p14_an_alertable_batch_hears_of_both_while_it_waits);
    RUN(p15_a_posted_packet_arrives_unchanged);
    RUN(p16_a_dequeue_leaves_the_last_error_and_refuses_what_is_no_port);
    RUN(a01_three_ways_to_call_create);
    RUN(a03_what_is_not_overlapped_or_no_io_is_refused);
    RUN(a05_an_association_counts_when_the_operation_ends);
    RUN(a06_a_routine_on_an_associated_handle_is_refused);
    RUN(a08_plain_calls_queue_no_packets);
    RUN(c01_an_operation_that_succeeds_at_once_queues_its_packet);
    RUN(c02_one_that_fails_at_once_queues_none);
    RUN(c03_a_failed_operations_packet_has_all_it_needs);
    RUN(c05_the_low_bit_of_the_event_suppresses_the_packet);
    RUN(c08_while_pending_the_status_says_so);
    RUN(x02_a_cancelled_operation_queues_a_packet_and_loses_nothing);
    RUN(s09_closing_a_socket_tells_each_operation);
    RUN(s09_what_was_sent_before_the_socket_was_closed_arrives);
    RUN(s02_receives_fill_in_posting_order);
    RUN(s04_a_large_send_completes_once_in_full);
    return summary();
}
