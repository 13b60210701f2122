/* C, X and the rest of P and S: what completes, and how it is told; what the tests of ports and of routines leave. */
#include "check.h"

static DWORD packets_in(HANDLE port, DWORD ms)
{
    DWORD bytes, count = 0;
    ULONG_PTR key;
    OVERLAPPED *which;
    while (GetQueuedCompletionStatus(port, &bytes, &key, &which, ms) || which != NULL)
        count++;
    return count;
}

static volatile LONG handled;
static HANDLE busy_port;

static DWORD WINAPI blocks(void *unused)
{
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *which;
    (void)unused;
    while (GetQueuedCompletionStatus(busy_port, &bytes, &key, &which, INFINITE)) {
        if (key == 0)
            return 0;
        InterlockedIncrement(&handled);
        Sleep(key == 2 ? 300 : 0); /* a wait of the library's own gives the place up, too */
    }
    return 1;
}

static void p06_a_worker_that_blocks_in_its_handler_is_replaced(void)
{
    HANDLE threads[3];
    int i;
    ULONGLONG begun;
    busy_port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    handled = 0;
    for (i = 0; i < 3; i++)
        threads[i] = CreateThread(NULL, 0, blocks, NULL, 0, NULL);
    Sleep(50);
    PostQueuedCompletionStatus(busy_port, 0, 2, NULL); /* this one blocks the only place */
    for (i = 0; i < 10; i++)
        PostQueuedCompletionStatus(busy_port, 0, 1, NULL);
    begun = GetTickCount64();
    while (handled < 11 && GetTickCount64() - begun < 5000)
        Sleep(1);
    CHECK(GetTickCount64() - begun < 250);
    EQUAL(handled, 11);
    for (i = 0; i < 3; i++)
        PostQueuedCompletionStatus(busy_port, 0, 0, NULL);
    EQUAL(WaitForMultipleObjects(3, threads, TRUE, 5000), WAIT_OBJECT_0);
    for (i = 0; i < 3; i++)
        CloseHandle(threads[i]);
    CloseHandle(busy_port);
}

static VOID CALLBACK nothing(ULONG_PTR unused)
{
    (void)unused;
}

static DWORD WINAPI dequeues_for_the_first_time(void *port)
{
    OVERLAPPED_ENTRY entry;
    ULONG taken = 0;
    QueueUserAPC(nothing, GetCurrentThread(), 0);
    if (GetQueuedCompletionStatusEx((HANDLE)port, &entry, 1, &taken, 1000, TRUE) || GetLastError() != WAIT_IO_COMPLETION)
        return 1; /* the packet won */
    return GetQueuedCompletionStatusEx((HANDLE)port, &entry, 1, &taken, 1000, TRUE) ? 0 : 2;
}

static void p14_the_apc_wins_where_the_thread_has_not_dequeued_before(void)
{
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0), thread;
    DWORD code = 9;
    PostQueuedCompletionStatus(port, 1, 2, NULL);
    thread = CreateThread(NULL, 0, dequeues_for_the_first_time, port, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    GetExitCodeThread(thread, &code);
    EQUAL(code, WINE_DIFFERS("the packet always wins") ? 1 : 0);
    CloseHandle(thread);
    CloseHandle(port);
}

static DWORD WINAPI posts_later(void *port)
{
    Sleep(50);
    PostQueuedCompletionStatus((HANDLE)port, 1, 2, NULL);
    return 0;
}

static void p17_a_port_can_be_waited_for(void)
{
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    EQUAL(WaitForSingleObject(port, 20), WAIT_TIMEOUT);
    CloseHandle(CreateThread(NULL, 0, posts_later, port, 0, NULL));
    EQUAL(WaitForSingleObject(port, 5000), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(port, 0), WAIT_OBJECT_0);
    EQUAL(packets_in(port, 0), 1); /* none was consumed */
    EQUAL(WaitForSingleObject(port, 0), WAIT_TIMEOUT);
    CloseHandle(port);
}

static void c06_c07_notification_modes(void)
{
    SOCKET a, b;
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    char in[4];
    OVERLAPPED overlapped;
    WSABUF buffer;
    DWORD flags = 0;
    int pending;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    CHECK(SetFileCompletionNotificationModes((HANDLE)b, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE));
    /* went pending: its packet comes; succeeded at once: none does */
    buffer.buf = in;
    buffer.len = sizeof in;
    send(a, "abcd", 4, 0);
    Sleep(50);
    pending = WSARecv(b, &buffer, 1, NULL, &flags, &overlapped, NULL) != 0;
    CHECK(!pending || WSAGetLastError() == WSA_IO_PENDING);
    EQUAL(packets_in(port, 100), pending);
    EQUAL(WaitForSingleObject((HANDLE)b, 0), WAIT_TIMEOUT);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    send(a, "abcd", 4, 0);
    EQUAL(packets_in(port, 100), 1);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void c12_the_array_of_buffers_is_taken_by_the_call(void)
{
    SOCKET a, b;
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    char in[3][4];
    OVERLAPPED overlapped, *which;
    WSABUF buffers[3];
    DWORD flags = 0, bytes = 0;
    ULONG_PTR key;
    int i;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    for (i = 0; i < 3; i++) {
        buffers[i].buf = in[i];
        buffers[i].len = 4;
    }
    EQUAL(WSARecv(b, buffers, 3, NULL, &flags, &overlapped, NULL), SOCKET_ERROR);
    EQUAL(WSAGetLastError(), WSA_IO_PENDING);
    memset(buffers, 0xEE, sizeof buffers);
    send(a, "abcdefghijkl", 12, 0);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
    EQUAL(bytes, 12);
    CHECK(memcmp(in, "abcdefghijkl", 12) == 0);
    closesocket(a);
    closesocket(b);
    CloseHandle(port);
}

static void c14_waiting_for_a_result_with_a_limit(void)
{
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    DWORD bytes;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    connected_pair(&a, &b);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    QueueUserAPC(nothing, GetCurrentThread(), 0);
    FAILS(!GetOverlappedResultEx((HANDLE)b, &overlapped, &bytes, 0, TRUE), ERROR_IO_INCOMPLETE);
    FAILS(!GetOverlappedResultEx((HANDLE)b, &overlapped, &bytes, 2000, TRUE), WAIT_IO_COMPLETION);
    FAILS(!GetOverlappedResultEx((HANDLE)b, &overlapped, &bytes, 20, TRUE), WAIT_TIMEOUT);
    send(a, "abcd", 4, 0);
    CHECK(GetOverlappedResultEx((HANDLE)b, &overlapped, &bytes, 5000, TRUE));
    EQUAL(bytes, 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void c17_one_last_error_a_thread_which_winsock_clears(void)
{
    SOCKET a, b;
    connected_pair(&a, &b);
    WSASetLastError(1234);
    EQUAL(GetLastError(), 1234);
    SetLastError(4321);
    EQUAL(WSAGetLastError(), 4321);
    EQUAL(send(a, "x", 1, 0), 1);
    EQUAL(GetLastError(), 0);
    closesocket(a);
    closesocket(b);
}

static SOCKET shared;
static OVERLAPPED of_other;
static char other_in[4];
static HANDLE started_there, go_on;

static DWORD WINAPI starts_one(void *unused)
{
    (void)unused;
    start_recv(shared, other_in, 4, &of_other);
    SetEvent(started_there);
    return WaitForSingleObject(go_on, 5000);
}

static void x01_cancelio_ends_what_the_calling_thread_has_started(void)
{
    SOCKET a;
    HANDLE thread;
    OVERLAPPED mine;
    char in[4];
    DWORD bytes;
    memset(&mine, 0, sizeof mine);
    memset(&of_other, 0, sizeof of_other);
    mine.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    of_other.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    started_there = CreateEventA(NULL, TRUE, FALSE, NULL);
    go_on = CreateEventA(NULL, TRUE, FALSE, NULL);
    connected_pair(&a, &shared);
    thread = CreateThread(NULL, 0, starts_one, NULL, 0, NULL);
    EQUAL(WaitForSingleObject(started_there, 5000), WAIT_OBJECT_0);
    EQUAL(start_recv(shared, in, 4, &mine), 0);
    CHECK(CancelIo((HANDLE)shared));
    FAILS(!GetOverlappedResult((HANDLE)shared, &mine, &bytes, TRUE), ERROR_OPERATION_ABORTED);
    EQUAL(WaitForSingleObject(of_other.hEvent, 50), WAIT_TIMEOUT);
    CHECK(CancelIoEx((HANDLE)shared, NULL));
    FAILS(!GetOverlappedResult((HANDLE)shared, &of_other, &bytes, TRUE), ERROR_OPERATION_ABORTED);
    SetEvent(go_on);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CloseHandle(thread);
    closesocket(a);
    closesocket(shared);
}

static DWORD WINAPI receives_plainly(void *socket)
{
    char in[4];
    return recv((SOCKET)socket, in, 4, 0) == SOCKET_ERROR ? (DWORD)WSAGetLastError() : 0;
}

static void x03_a_blocked_receive_is_cancelled_from_another_thread(void)
{
    SOCKET a, b;
    HANDLE thread;
    DWORD code = 0;
    connected_pair(&a, &b);
    thread = CreateThread(NULL, 0, receives_plainly, (void *)b, 0, NULL);
    Sleep(100);
    if (WINE_DIFFERS("a plain receive is not found")) {
        FAILS(!CancelSynchronousIo(thread), ERROR_NOT_FOUND);
        send(a, "abcd", 4, 0);
        EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    } else {
        CHECK(CancelSynchronousIo(thread));
        EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
        GetExitCodeThread(thread, &code);
        EQUAL(code, WSA_OPERATION_ABORTED);
    }
    CloseHandle(thread);
    closesocket(a);
    closesocket(b);
}

static void s09_closing_one_of_two_duplicates_cancels_nothing(void)
{
    SOCKET a, b;
    HANDLE other = NULL;
    OVERLAPPED overlapped;
    char in[4];
    DWORD bytes = 0;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    connected_pair(&a, &b);
    CHECK(DuplicateHandle(GetCurrentProcess(), (HANDLE)b, GetCurrentProcess(), &other, 0, FALSE, DUPLICATE_SAME_ACCESS));
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    EQUAL(CloseHandle((HANDLE)b), TRUE);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 50), WAIT_TIMEOUT);
    send(a, "abcd", 4, 0);
    if (WINE_DIFFERS("the receive fails, for the handle that it was started on has gone")) {
        FAILS(!GetOverlappedResult(other, &overlapped, &bytes, TRUE), ERROR_INVALID_HANDLE);
    } else {
        CHECK(GetOverlappedResult(other, &overlapped, &bytes, TRUE));
        EQUAL(bytes, 4);
    }
    CloseHandle(other);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
}

static void s17_a_hard_close_resets(void)
{
    SOCKET a, b;
    struct linger hard = {1, 0};
    char in[4];
    EQUAL(sizeof hard, 4);
    connected_pair(&a, &b);
    EQUAL(setsockopt(a, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard), 0);
    closesocket(a);
    if (WINE_DIFFERS("a receive that starts after the reset reads an orderly end"))
        EQUAL(recv(b, in, 4, 0), 0);
    else
        FAILS(recv(b, in, 4, 0) == SOCKET_ERROR, WSAECONNRESET);
    closesocket(b);
}

/* Many workers, many connections, echoes until the peers have had enough. */
enum { CONNECTIONS = 40, ROUNDS = 200, WORKERS = 4 };

struct io {
    OVERLAPPED overlapped;
    SOCKET s;
    int sending;
    char bytes[512];
};

static HANDLE echo_port;
static volatile LONG open_connections;

static DWORD WINAPI echoes(void *unused)
{
    DWORD bytes;
    ULONG_PTR key;
    OVERLAPPED *which;
    (void)unused;
    for (;;) {
        BOOL fine = GetQueuedCompletionStatus(echo_port, &bytes, &key, &which, INFINITE);
        struct io *io = (struct io *)which;
        if (!io)
            return 0;
        memset(&io->overlapped, 0, sizeof io->overlapped);
        if (!fine || bytes == 0) {
            closesocket(io->s);
            free(io);
            InterlockedDecrement(&open_connections);
        } else if (io->sending) {
            io->sending = 0;
            start_recv(io->s, io->bytes, sizeof io->bytes, &io->overlapped);
        } else {
            io->sending = 1;
            start_send(io->s, io->bytes, bytes, &io->overlapped);
        }
    }
}

static DWORD WINAPI talks(void *socket)
{
    SOCKET s = (SOCKET)socket;
    char out[300], in[300];
    int round, i;
    for (round = 0; round < ROUNDS; round++) {
        int len = 1 + (round * 37) % 300;
        for (i = 0; i < len; i++)
            out[i] = (char)(round + i * 3);
        if (send(s, out, len, 0) != len || recv_all(s, in, len) != len || memcmp(in, out, len) != 0)
            return 1;
    }
    closesocket(s);
    return 0;
}

static void s02_many_workers_echo_every_byte(void)
{
    HANDLE workers[WORKERS], talkers[CONNECTIONS];
    struct sockaddr_in at;
    SOCKET l = listener_at(&at);
    DWORD code;
    int i;
    echo_port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 2);
    for (i = 0; i < WORKERS; i++)
        workers[i] = CreateThread(NULL, 0, echoes, NULL, 0, NULL);
    for (i = 0; i < CONNECTIONS; i++) {
        SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
        struct io *io = calloc(1, sizeof *io);
        connect(s, (struct sockaddr *)&at, sizeof at);
        io->s = accept(l, NULL, NULL);
        InterlockedIncrement(&open_connections);
        CHECK(CreateIoCompletionPort((HANDLE)io->s, echo_port, i, 0) == echo_port);
        EQUAL(start_recv(io->s, io->bytes, sizeof io->bytes, &io->overlapped), 0);
        talkers[i] = CreateThread(NULL, 0, talks, (void *)s, 0, NULL);
    }
    EQUAL(WaitForMultipleObjects(CONNECTIONS, talkers, TRUE, 240000), WAIT_OBJECT_0); /* valgrind is slow */
    for (i = 0; i < CONNECTIONS; i++) {
        GetExitCodeThread(talkers[i], &code);
        EQUAL(code, 0);
        CloseHandle(talkers[i]);
    }
    for (i = 0; i < 500 && open_connections > 0; i++)
        Sleep(10);
    EQUAL(open_connections, 0);
    for (i = 0; i < WORKERS; i++)
        PostQueuedCompletionStatus(echo_port, 0, 0, NULL);
    EQUAL(WaitForMultipleObjects(WORKERS, workers, TRUE, 5000), WAIT_OBJECT_0);
    for (i = 0; i < WORKERS; i++)
        CloseHandle(workers[i]);
    CloseHandle(echo_port);
    closesocket(l);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(p06_a_worker_that_blocks_in_its_handler_is_replaced);
    RUN(p14_the_apc_wins_where_the_thread_has_not_dequeued_before);
    RUN(p17_a_port_can_be_waited_for);
    RUN(c06_c07_notification_modes);
    RUN(c12_the_array_of_buffers_is_taken_by_the_call);
    RUN(c14_waiting_for_a_result_with_a_limit);
    RUN(c17_one_last_error_a_thread_which_winsock_clears);
    RUN(x01_cancelio_ends_what_the_calling_thread_has_started);
    RUN(x03_a_blocked_receive_is_cancelled_from_another_thread);
    RUN(s09_closing_one_of_two_duplicates_cancels_nothing);
    RUN(s17_a_hard_close_resets);
    RUN(s02_many_workers_echo_every_byte);
    return summary();
}
