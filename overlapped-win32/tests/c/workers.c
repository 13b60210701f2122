/* P: who of a port's workers runs, and how many. Wine has no limit, so it differs in most of this. */
#include "check.h"

enum { WORKERS = 4 };

static HANDLE port;
static volatile LONG stop, running, most_running, taken, next_place, order[16];

static HANDLE new_port(DWORD concurrency)
{
    HANDLE fresh = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, concurrency);
    CHECK(fresh != NULL);
    stop = running = most_running = taken = next_place = 0;
    return fresh;
}

static BOOL packet(HANDLE from, ULONG_PTR *key, DWORD ms)
{
    DWORD bytes;
    OVERLAPPED *which;
    return GetQueuedCompletionStatus(from, &bytes, key, &which, ms);
}

/* Waits for a variable of the workers', on a thread that is none. */
static int becomes(volatile LONG *variable, LONG value, DWORD ms)
{
    ULONGLONG begun = GetTickCount64();
    while (*variable != value && GetTickCount64() - begun < ms)
        Sleep(1);
    return *variable == value;
}

static void compute_until(volatile LONG *flag)
{
    while (!*flag)
        YieldProcessor();
}

static void end_all(HANDLE *threads, int count)
{
    int i;
    EQUAL(WaitForMultipleObjects(count, threads, TRUE, 10000), WAIT_OBJECT_0);
    for (i = 0; i < count; i++)
        CloseHandle(threads[i]);
}

static DWORD WINAPI takes_one(void *number)
{
    ULONG_PTR key;
    if (!packet(port, &key, 10000))
        return 1;
    order[InterlockedIncrement(&next_place) - 1] = (LONG)(LONG_PTR)number;
    return 0;
}

static void p02_waiting_workers_are_released_last_in_first_out(void)
{
    HANDLE threads[WORKERS];
    int i;
    port = new_port(WORKERS);
    for (i = 0; i < WORKERS; i++) {
        threads[i] = CreateThread(NULL, 0, takes_one, (void *)(LONG_PTR)i, 0, NULL);
        Sleep(40);
    }
    for (i = 0; i < WORKERS; i++) {
        PostQueuedCompletionStatus(port, 0, 0, NULL);
        CHECK(becomes(&next_place, i + 1, 5000));
    }
    end_all(threads, WORKERS);
    if (WINE_DIFFERS("waiters are released first in, first out"))
        for (i = 0; i < WORKERS; i++)
            EQUAL(order[i], i);
    else
        for (i = 0; i < WORKERS; i++)
            EQUAL(order[i], WORKERS - 1 - i);
    CloseHandle(port);
}

/* The one who gets the first packet posts two more and asks for them at once. */
static DWORD WINAPI posts_and_asks(void *unused)
{
    ULONG_PTR key;
    DWORD got = 0;
    (void)unused;
    if (!packet(port, &key, 2000) || key != 1)
        return 0;
    PostQueuedCompletionStatus(port, 0, 2, NULL);
    PostQueuedCompletionStatus(port, 0, 3, NULL);
    got += packet(port, &key, 0) && key == 2;
    got += packet(port, &key, 0) && key == 3;
    return 1 + got;
}

static void p03_who_asks_while_packets_are_queued_gets_one_before_any_that_waits(void)
{
    HANDLE threads[2];
    DWORD code, sum = 0;
    int i;
    port = new_port(1);
    for (i = 0; i < 2; i++)
        threads[i] = CreateThread(NULL, 0, posts_and_asks, NULL, 0, NULL);
    Sleep(50);
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    EQUAL(WaitForMultipleObjects(2, threads, TRUE, 10000), WAIT_OBJECT_0);
    for (i = 0; i < 2; i++) {
        GetExitCodeThread(threads[i], &code);
        sum += code;
        CloseHandle(threads[i]);
    }
    if (WINE_DIFFERS("there is no limit, so one that waits may be quicker"))
        CHECK(sum >= 1 && sum <= 3);
    else
        EQUAL(sum, 3);
    CloseHandle(port);
}

static DWORD WINAPI computes_a_while(void *unused)
{
    ULONG_PTR key;
    (void)unused;
    while (packet(port, &key, INFINITE) && key != 0) {
        LONG now = InterlockedIncrement(&running), most = most_running;
        ULONGLONG begun = GetTickCount64();
        while (now > most && InterlockedCompareExchange(&most_running, now, most) != most)
            most = most_running;
        while (GetTickCount64() - begun < 60)
            YieldProcessor();
        InterlockedDecrement(&running);
        InterlockedIncrement(&taken);
    }
    return 0;
}

static void p04_no_more_workers_compute_than_the_port_allows(void)
{
    HANDLE threads[WORKERS];
    SOCKET s = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    int i;
    port = new_port(2);
    CHECK(CreateIoCompletionPort((HANDLE)s, port, 1, 4) == port); /* this number is ignored */
    for (i = 0; i < WORKERS; i++)
        threads[i] = CreateThread(NULL, 0, computes_a_while, NULL, 0, NULL);
    Sleep(50);
    for (i = 0; i < 8; i++)
        PostQueuedCompletionStatus(port, 0, 1, NULL);
    CHECK(becomes(&taken, 8, 10000));
    if (WINE_DIFFERS("the limit is ignored"))
        EQUAL(most_running, WORKERS);
    else
        EQUAL(most_running, 2);
    for (i = 0; i < WORKERS; i++)
        PostQueuedCompletionStatus(port, 0, 0, NULL);
    end_all(threads, WORKERS);
    closesocket(s);
    CloseHandle(port);
}

/* Takes one packet, computes until it may stop, and exits. */
static DWORD WINAPI computes_and_exits(void *unused)
{
    ULONG_PTR key;
    (void)unused;
    if (!packet(port, &key, 10000))
        return 1;
    InterlockedIncrement(&taken);
    compute_until(&stop);
    return 0;
}

static void p05_a_worker_that_exits_leaves_its_place(void)
{
    HANDLE threads[2];
    int i;
    port = new_port(1);
    for (i = 0; i < 2; i++)
        threads[i] = CreateThread(NULL, 0, computes_and_exits, NULL, 0, NULL);
    Sleep(50);
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    CHECK(becomes(&taken, 1, 5000));
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    Sleep(80);
    if (WINE_DIFFERS("the limit is ignored"))
        EQUAL(taken, 2);
    else
        EQUAL(taken, 1);
    InterlockedExchange(&stop, 1); /* the first one exits, without another dequeue */
    CHECK(becomes(&taken, 2, 5000));
    end_all(threads, 2);
    CloseHandle(port);
}

static HANDLE gate;

/* Key 1 blocks first, and then computes as key 2 does. */
static DWORD WINAPI blocks_and_computes(void *unused)
{
    ULONG_PTR key;
    (void)unused;
    while (packet(port, &key, INFINITE) && key != 0) {
        InterlockedIncrement(&taken);
        if (key == 1)
            WaitForSingleObject(gate, 10000);
        InterlockedIncrement(&running);
        compute_until(&stop);
        InterlockedDecrement(&running);
    }
    return 0;
}

static void p07_one_that_wakes_may_exceed_the_limit_but_nobody_new_is_admitted(void)
{
    HANDLE threads[3];
    int i;
    port = new_port(1);
    gate = CreateEventA(NULL, TRUE, FALSE, NULL);
    for (i = 0; i < 3; i++)
        threads[i] = CreateThread(NULL, 0, blocks_and_computes, NULL, 0, NULL);
    Sleep(50);
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    CHECK(becomes(&taken, 1, 5000));
    PostQueuedCompletionStatus(port, 0, 2, NULL); /* for the second, as the first one blocks */
    CHECK(becomes(&running, 1, 5000));
    SetEvent(gate);
    CHECK(becomes(&running, 2, 5000));
    PostQueuedCompletionStatus(port, 0, 2, NULL);
    Sleep(80);
    if (WINE_DIFFERS("the limit is ignored"))
        EQUAL(taken, 3);
    else
        EQUAL(taken, 2);
    InterlockedExchange(&stop, 1);
    CHECK(becomes(&taken, 3, 5000));
    for (i = 0; i < 3; i++)
        PostQueuedCompletionStatus(port, 0, 0, NULL);
    end_all(threads, 3);
    CloseHandle(gate);
    CloseHandle(port);
}

static HANDLE second_port;

static DWORD WINAPI moves_over(void *unused)
{
    ULONG_PTR key;
    (void)unused;
    if (!packet(port, &key, 10000) || !packet(second_port, &key, 10000))
        return 1;
    InterlockedIncrement(&running);
    compute_until(&stop);
    return 0;
}

static void p08_a_worker_that_moves_to_another_port_frees_its_place_at_the_first(void)
{
    HANDLE threads[2];
    port = new_port(1);
    second_port = new_port(1);
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    PostQueuedCompletionStatus(second_port, 0, 1, NULL);
    threads[0] = CreateThread(NULL, 0, moves_over, NULL, 0, NULL);
    CHECK(becomes(&running, 1, 5000)); /* it computes, for the other port */
    threads[1] = CreateThread(NULL, 0, takes_one, NULL, 0, NULL);
    PostQueuedCompletionStatus(port, 0, 1, NULL);
    CHECK(becomes(&next_place, 1, 5000));
    InterlockedExchange(&stop, 1);
    end_all(threads, 2);
    CloseHandle(port);
    CloseHandle(second_port);
}

static void p11_closing_a_port_drops_what_is_queued(void)
{
    int round;
    SOCKET a, b;
    char in[4];
    for (round = 0; round < 200; round++) {
        OVERLAPPED never;
        ULONG_PTR key;
        int i;
        memset(&never, 0x5A, sizeof never);
        port = new_port(1);
        for (i = 0; i < 100; i++)
            PostQueuedCompletionStatus(port, i, 0, &never);
        CHECK(CloseHandle(port));
        FAILS(!packet(port, &key, 0), ERROR_INVALID_HANDLE);
        for (i = 0; i < (int)sizeof never; i++)
            CHECK(((char *)&never)[i] == 0x5A);
    }
    /* a packet of an operation, too: the socket goes on */
    connected_pair(&a, &b);
    port = new_port(1);
    CreateIoCompletionPort((HANDLE)b, port, 1, 0);
    {
        OVERLAPPED overlapped;
        memset(&overlapped, 0, sizeof overlapped);
        EQUAL(start_send(b, "abcd", 4, &overlapped), 0);
        EQUAL(recv_all(a, in, 4), 4);
        CHECK(CloseHandle(port));
        for (round = 0; round < 500 && !HasOverlappedIoCompleted(&overlapped); round++)
            Sleep(10);
        EQUAL(overlapped.InternalHigh, 4);
    }
    EQUAL(send(a, "efgh", 4, 0), 4);
    EQUAL(recv_all(b, in, 4), 4);
    closesocket(a);
    closesocket(b);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(p02_waiting_workers_are_released_last_in_first_out);
    RUN(p03_who_asks_while_packets_are_queued_gets_one_before_any_that_waits);
    RUN(p04_no_more_workers_compute_than_the_port_allows);
    RUN(p05_a_worker_that_exits_leaves_its_place);
    RUN(p07_one_that_wakes_may_exceed_the_limit_but_nobody_new_is_admitted);
    RUN(p08_a_worker_that_moves_to_another_port_frees_its_place_at_the_first);
    RUN(p11_closing_a_port_drops_what_is_queued);
    return summary();
}
