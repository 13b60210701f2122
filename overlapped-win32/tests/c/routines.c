/* R: completion routines, APCs and alertable waits; E: events and waits; what of C and X concerns them. */
#include "check.h"
#include <process.h>

static int runs;
static DWORD last_code, last_bytes, last_thread;
static OVERLAPPED *last_overlapped;

static VOID CALLBACK routine(DWORD error, DWORD bytes, OVERLAPPED *overlapped, DWORD flags)
{
    (void)flags;
    runs++;
    last_code = error;
    last_bytes = bytes;
    last_overlapped = overlapped;
    last_thread = GetCurrentThreadId();
}

static int recv_then(SOCKET s, void *to, unsigned long len, OVERLAPPED *overlapped)
{
    WSABUF buffer;
    DWORD flags = 0;
    buffer.buf = (char *)to;
    buffer.len = len;
    return WSARecv(s, &buffer, 1, NULL, &flags, overlapped, routine) == 0 ? 0 : WSAGetLastError();
}

static int send_then(SOCKET s, const void *from, unsigned long len, OVERLAPPED *overlapped)
{
    WSABUF buffer;
    buffer.buf = (char *)from;
    buffer.len = len;
    return WSASend(s, &buffer, 1, NULL, 0, overlapped, routine) == 0 ? 0 : WSAGetLastError();
}

static void started(int code)
{
    CHECK(code == 0 || code == WSA_IO_PENDING);
}

static void r01_a_routine_runs_only_inside_an_alertable_wait_of_its_thread(void)
{
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    runs = 0;
    started(send_then(a, "abcd", 4, &overlapped)); /* it succeeds at once, and its routine waits all the same */
    EQUAL(runs, 0);
    Sleep(50);
    EQUAL(SleepEx(10, FALSE), 0);
    EQUAL(runs, 0);
    EQUAL(SleepEx(1000, TRUE), WAIT_IO_COMPLETION);
    EQUAL(runs, 1);
    EQUAL(last_code, 0);
    EQUAL(last_bytes, 4);
    CHECK(last_overlapped == &overlapped);
    EQUAL(last_thread, GetCurrentThreadId());
    EQUAL(recv_all(b, in, 4), 4);
    closesocket(a);
    closesocket(b);
}

static VOID CALLBACK apc_sets(ULONG_PTR value)
{
    runs = runs * 10 + (int)value;
}

static void r02_one_wait_runs_all_that_is_queued_in_order(void)
{
    int i;
    runs = 0;
    for (i = 1; i <= 5; i++)
        CHECK(QueueUserAPC(apc_sets, GetCurrentThread(), i));
    EQUAL(SleepEx(0, TRUE), WAIT_IO_COMPLETION);
    EQUAL(runs, 12345);
    EQUAL(SleepEx(0, TRUE), 0);
}

static void r03_a_sleep_that_nothing_ends_takes_its_time(void)
{
    ULONGLONG begun = GetTickCount64();
    EQUAL(SleepEx(60, TRUE), 0);
    CHECK(GetTickCount64() - begun >= 45);
}

static HANDLE gate;

static DWORD WINAPI waits_alertably(void *unused)
{
    (void)unused;
    return WaitForSingleObjectEx(gate, 5000, TRUE);
}

static VOID CALLBACK apc_opens(ULONG_PTR handle)
{
    SetEvent((HANDLE)handle);
}

static void r05_an_apc_ends_a_wait_and_the_object_is_not_consumed(void)
{
    HANDLE thread;
    DWORD code;
    gate = CreateEventA(NULL, FALSE, FALSE, NULL);
    thread = CreateThread(NULL, 0, waits_alertably, NULL, 0, NULL);
    Sleep(50);
    CHECK(QueueUserAPC(apc_opens, thread, (ULONG_PTR)gate));
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code));
    EQUAL(code, WAIT_IO_COMPLETION);
    EQUAL(WaitForSingleObject(gate, 0), WAIT_OBJECT_0);
    /* signalled already: the wait returns that, and the APC stays */
    SetEvent(gate);
    runs = 0;
    QueueUserAPC(apc_sets, GetCurrentThread(), 7);
    EQUAL(WaitForSingleObjectEx(gate, 1000, TRUE), WAIT_OBJECT_0);
    EQUAL(runs, 0);
    EQUAL(SleepEx(0, TRUE), WAIT_IO_COMPLETION);
    EQUAL(runs, 7);
    CloseHandle(thread);
    CloseHandle(gate);
}

static DWORD WINAPI tells_runs(void *unused)
{
    (void)unused;
    return (DWORD)runs;
}

static void r06_an_apc_queued_before_the_thread_runs_comes_first(void)
{
    DWORD code;
    HANDLE thread;
    runs = 0;
    thread = CreateThread(NULL, 0, tells_runs, NULL, CREATE_SUSPENDED, NULL);
    CHECK(thread != NULL);
    CHECK(QueueUserAPC(apc_sets, thread, 3));
    CHECK(QueueUserAPC(apc_sets, thread, 4)); /* all of them, in order */
    EQUAL(runs, 0);
    EQUAL(ResumeThread(thread), 1);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    GetExitCodeThread(thread, &code);
    EQUAL(code, 34);
    FAILS(QueueUserAPC(apc_sets, thread, 3) == 0, ERROR_GEN_FAILURE);
    CloseHandle(thread);
}

static volatile LONG sleeping;

static DWORD WINAPI never_waits_alertably(void *unused)
{
    (void)unused;
    InterlockedIncrement(&sleeping);
    WaitForSingleObject(gate, 5000);
    SleepEx(1, FALSE);
    return (DWORD)runs;
}

/* What was given to an APC goes with it: that nothing of the library's is left is for AddressSanitizer and valgrind to say. */
static void r06_apcs_of_a_thread_that_never_waits_alertably_vanish_with_it(void)
{
    DWORD code = 1;
    int i;
    HANDLE thread;
    gate = CreateEventA(NULL, TRUE, FALSE, NULL);
    runs = 0;
    sleeping = 0;
    thread = CreateThread(NULL, 0, never_waits_alertably, NULL, 0, NULL);
    while (!sleeping)
        Sleep(1);
    for (i = 0; i < 1000; i++)
        CHECK(QueueUserAPC(apc_sets, thread, 1));
    EQUAL(WaitForSingleObject(thread, 30), WAIT_TIMEOUT); /* they do not wake it either */
    SetEvent(gate);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code));
    EQUAL(code, 0);
    EQUAL(runs, 0);
    EQUAL(SleepEx(0, TRUE), 0); /* nobody else has them */
    EQUAL(runs, 0);
    FAILS(QueueUserAPC(apc_sets, thread, 3) == 0, ERROR_GEN_FAILURE);
    CloseHandle(thread);
    CloseHandle(gate);
}

static void r07_a_routine_of_a_failure_gets_the_error_and_no_bytes(void)
{
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = (HANDLE)(ULONG_PTR)0x12345; /* the program's own */
    connected_pair(&a, &b);
    runs = 0;
    started(recv_then(b, in, 4, &overlapped));
    CHECK(CancelIo((HANDLE)b));
    EQUAL(SleepEx(2000, TRUE), WAIT_IO_COMPLETION);
    EQUAL(runs, 1);
    EQUAL(last_code, WSA_OPERATION_ABORTED);
    EQUAL(last_bytes, 0);
    CHECK(overlapped.hEvent == (HANDLE)(ULONG_PTR)0x12345);
    closesocket(a);
    closesocket(b);
}

static DWORD WINAPI sends_later(void *socket)
{
    Sleep(100);
    send((SOCKET)socket, "wxyz", 4, 0);
    return 0;
}

static void r08_all_alertable_waits_run_routines(void)
{
    SOCKET a, b;
    char in[4];
    OVERLAPPED overlapped;
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, NULL), other = CreateEventA(NULL, TRUE, FALSE, NULL), both[2];
    int which;
    both[0] = event;
    both[1] = other;
    connected_pair(&a, &b);
    for (which = 0; which < 5; which++) {
        DWORD answer = 0;
        memset(&overlapped, 0, sizeof overlapped);
        runs = 0;
        started(recv_then(b, in, 4, &overlapped));
        CloseHandle(CreateThread(NULL, 0, sends_later, (void *)a, 0, NULL));
        switch (which) {
        case 0: answer = SleepEx(3000, TRUE); break;
        case 1: answer = WaitForSingleObjectEx(event, 3000, TRUE); break;
        case 2: answer = WaitForMultipleObjectsEx(2, both, TRUE, 3000, TRUE); break;
        case 3: answer = WSAWaitForMultipleEvents(2, both, FALSE, 3000, TRUE); break;
        case 4: answer = SignalObjectAndWait(other, event, 3000, TRUE); break;
        }
        EQUAL(answer, WAIT_IO_COMPLETION);
        EQUAL(runs, 1);
        EQUAL(last_bytes, 4);
    }
    CloseHandle(event);
    CloseHandle(other);
    closesocket(a);
    closesocket(b);
}

static void r09_a_plain_receive_that_waits_runs_apcs_and_goes_on(void)
{
    SOCKET a, b;
    char in[4];
    connected_pair(&a, &b);
    runs = 0;
    QueueUserAPC(apc_sets, GetCurrentThread(), 4);
    CloseHandle(CreateThread(NULL, 0, sends_later, (void *)a, 0, NULL));
    EQUAL(recv(b, in, 4, 0), 4);
    EQUAL(runs, 4);
    closesocket(a);
    closesocket(b);
}

static VOID CALLBACK apc_ends_the_thread(ULONG_PTR code)
{
    ExitThread((DWORD)code);
}

static DWORD WINAPI ends_in_an_apc(void *unused)
{
    (void)unused;
    QueueUserAPC(apc_ends_the_thread, GetCurrentThread(), 17);
    SleepEx(5000, TRUE);
    return 18;
}

static void e04_a_thread_may_end_inside_an_apc(void)
{
    DWORD code = 0;
    HANDLE thread = CreateThread(NULL, 0, ends_in_an_apc, NULL, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code));
    EQUAL(code, 17);
    FAILS(QueueUserAPC(apc_sets, thread, 1) == 0, ERROR_GEN_FAILURE);
    CloseHandle(thread);
}

static SOCKET theirs[2];
static OVERLAPPED of_thread[2];
static char into[2][4];

static DWORD WINAPI starts_and_ends(void *unused)
{
    (void)unused;
    started(recv_then(theirs[0], into[0], 4, &of_thread[0]));
    EQUAL(start_recv(theirs[1], into[1], 4, &of_thread[1]), 0);
    return 0;
}

static void x04_a_threads_exit_cancels_what_it_has_started(void)
{
    SOCKET a, c;
    HANDLE thread;
    DWORD bytes;
    char in[4];
    memset(of_thread, 0, sizeof of_thread);
    runs = 0;
    connected_pair(&a, &theirs[0]);
    connected_pair(&c, &theirs[1]);
    of_thread[1].hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    thread = CreateThread(NULL, 0, starts_and_ends, NULL, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(of_thread[1].hEvent, 5000), WAIT_OBJECT_0);
    FAILS(!GetOverlappedResult((HANDLE)theirs[1], &of_thread[1], &bytes, FALSE), ERROR_OPERATION_ABORTED);
    EQUAL((DWORD)of_thread[0].Internal, 0xC0000120);
    EQUAL(SleepEx(20, TRUE), 0);
    EQUAL(runs, 0);
    EQUAL(send(a, "abcd", 4, 0), 4); /* nothing is lost */
    EQUAL(recv_all(theirs[0], in, 4), 4);
    CloseHandle(thread);
    CloseHandle(of_thread[1].hEvent);
    closesocket(a);
    closesocket(c);
    closesocket(theirs[0]);
    closesocket(theirs[1]);
}

static void e01_events_of_both_kinds(void)
{
    HANDLE manual = CreateEventA(NULL, TRUE, TRUE, NULL), automatic = CreateEventA(NULL, FALSE, TRUE, NULL);
    WSAEVENT event = WSACreateEvent();
    EQUAL(WaitForSingleObject(manual, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(manual, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(automatic, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(automatic, 0), WAIT_TIMEOUT);
    EQUAL(WaitForSingleObject(event, 0), WAIT_TIMEOUT);
    CHECK(WSASetEvent(event));
    EQUAL(WaitForSingleObject(event, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(event, 0), WAIT_OBJECT_0);
    CHECK(WSAResetEvent(event));
    EQUAL(WaitForSingleObject(event, 0), WAIT_TIMEOUT);
    CHECK(WSACloseEvent(event));
    FAILS(!SetEvent(event), ERROR_INVALID_HANDLE);
    CloseHandle(manual);
    CloseHandle(automatic);
}

static void e02_waits_for_several(void)
{
    HANDLE events[65];
    int i;
    for (i = 0; i < 65; i++)
        events[i] = CreateEventA(NULL, FALSE, FALSE, NULL);
    FAILS(WaitForMultipleObjects(0, events, FALSE, 0) == WAIT_FAILED, ERROR_INVALID_PARAMETER);
    FAILS(WaitForMultipleObjects(65, events, FALSE, 0) == WAIT_FAILED, ERROR_INVALID_PARAMETER);
    EQUAL(WaitForMultipleObjects(64, events, FALSE, 0), WAIT_TIMEOUT);
    SetEvent(events[40]);
    SetEvent(events[9]);
    EQUAL(WaitForMultipleObjects(64, events, FALSE, 0), WAIT_OBJECT_0 + 9);
    EQUAL(WaitForMultipleObjects(64, events, FALSE, 0), WAIT_OBJECT_0 + 40);
    /* all or none */
    SetEvent(events[0]);
    EQUAL(WaitForMultipleObjects(2, events, TRUE, 20), WAIT_TIMEOUT);
    EQUAL(WaitForSingleObject(events[0], 0), WAIT_OBJECT_0);
    SetEvent(events[0]);
    SetEvent(events[1]);
    EQUAL(WaitForMultipleObjects(2, events, TRUE, 20), WAIT_OBJECT_0);
    EQUAL(WaitForMultipleObjects(2, events, FALSE, 0), WAIT_TIMEOUT);
    for (i = 0; i < 65; i++)
        CloseHandle(events[i]);
    FAILS(WaitForSingleObject(events[0], 0) == WAIT_FAILED, ERROR_INVALID_HANDLE);
}

static void e02_mutexes_and_semaphores(void)
{
    HANDLE mutex = CreateMutexA(NULL, TRUE, NULL), semaphore = CreateSemaphoreA(NULL, 1, 2, NULL);
    LONG before = -1;
    EQUAL(WaitForSingleObject(mutex, 0), WAIT_OBJECT_0);
    CHECK(ReleaseMutex(mutex));
    CHECK(ReleaseMutex(mutex));
    FAILS(!ReleaseMutex(mutex), ERROR_NOT_OWNER);
    CHECK(ReleaseSemaphore(semaphore, 1, &before));
    EQUAL(before, 1);
    FAILS(!ReleaseSemaphore(semaphore, 1, &before), ERROR_TOO_MANY_POSTS);
    EQUAL(WaitForSingleObject(semaphore, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(semaphore, 0), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(semaphore, 10), WAIT_TIMEOUT);
    CloseHandle(mutex);
    CloseHandle(semaphore);
}

static HANDLE left;

static DWORD WINAPI takes_and_leaves(void *unused)
{
    (void)unused;
    return WaitForSingleObject(left, 1000);
}

static void e02_a_mutex_whose_owner_ends_is_abandoned(void)
{
    HANDLE thread;
    left = CreateMutexA(NULL, FALSE, NULL);
    thread = CreateThread(NULL, 0, takes_and_leaves, NULL, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject(left, 1000), WAIT_ABANDONED);
    CHECK(ReleaseMutex(left));
    EQUAL(WaitForSingleObject(left, 1000), WAIT_OBJECT_0);
    CloseHandle(thread);
    CloseHandle(left);
}

static DWORD WINAPI returns_42(void *unused)
{
    (void)unused;
    Sleep(50);
    return 42;
}

static unsigned __stdcall ends_with_43(void *unused)
{
    (void)unused;
    _endthreadex(43);
    return 44;
}

static DWORD WINAPI exits_with_45(void *unused)
{
    (void)unused;
    ExitThread(45);
    return 46;
}

static void e04_a_thread_handle_is_signalled_at_its_exit_and_keeps_the_code(void)
{
    HANDLE threads[3];
    DWORD code, id;
    int i;
    unsigned other;
    threads[0] = CreateThread(NULL, 0, returns_42, NULL, 0, &id);
    CHECK(GetExitCodeThread(threads[0], &code));
    EQUAL(code, STILL_ACTIVE);
    EQUAL(GetThreadId(threads[0]), id);
    threads[1] = (HANDLE)_beginthreadex(NULL, 0, ends_with_43, NULL, 0, &other);
    threads[2] = CreateThread(NULL, 0, exits_with_45, NULL, 0, NULL);
    EQUAL(WaitForMultipleObjects(3, threads, TRUE, 5000), WAIT_OBJECT_0);
    for (i = 0; i < 3; i++) {
        CHECK(GetExitCodeThread(threads[i], &code));
        EQUAL(code, i == 0 ? 42 : i == 1 ? 43 : 45);
        EQUAL(WaitForSingleObject(threads[i], 0), WAIT_OBJECT_0);
        CloseHandle(threads[i]);
    }
}

static void c09_the_event_is_reset_at_the_start_and_set_at_the_end(void)
{
    SOCKET a, b;
    char in[4];
    DWORD bytes, flags;
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    overlapped.hEvent = CreateEventA(NULL, TRUE, TRUE, NULL);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 20), WAIT_TIMEOUT);
    FAILS(!WSAGetOverlappedResult(b, &overlapped, &bytes, FALSE, &flags), WSA_IO_INCOMPLETE);
    send(a, "abcd", 4, 0);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 5000), WAIT_OBJECT_0);
    CHECK(WSAGetOverlappedResult(b, &overlapped, &bytes, FALSE, &flags));
    EQUAL(bytes, 4);
    /* one that is done at once sets it, too */
    EQUAL(start_send(b, "efgh", 4, &overlapped), 0);
    EQUAL(WaitForSingleObject(overlapped.hEvent, 5000), WAIT_OBJECT_0);
    CHECK(GetOverlappedResult((HANDLE)b, &overlapped, &bytes, TRUE));
    EQUAL(bytes, 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static void c09_without_an_event_the_handle_is_signalled(void)
{
    SOCKET a, b;
    char in[4];
    DWORD bytes;
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    connected_pair(&a, &b);
    EQUAL(start_recv(b, in, 4, &overlapped), 0);
    EQUAL(WaitForSingleObject((HANDLE)b, 20), WAIT_TIMEOUT);
    CloseHandle(CreateThread(NULL, 0, sends_later, (void *)a, 0, NULL));
    CHECK(GetOverlappedResult((HANDLE)b, &overlapped, &bytes, TRUE));
    EQUAL(bytes, 4);
    EQUAL(WaitForSingleObject((HANDLE)b, 0), WAIT_OBJECT_0);
    closesocket(a);
    closesocket(b);
}

static void c15_the_winsock_result_checks_the_socket_first(void)
{
    OVERLAPPED overlapped;
    DWORD bytes, flags;
    memset(&overlapped, 0, sizeof overlapped);
    FAILS(!WSAGetOverlappedResult((SOCKET)0x7FFFFFF0, &overlapped, &bytes, FALSE, &flags), WSAENOTSOCK);
    CHECK(GetOverlappedResult(NULL, &overlapped, &bytes, FALSE)); /* it works from the overlapped alone */
    overlapped.Internal = 0xC000020D;
    overlapped.InternalHigh = 5;
    FAILS(!GetOverlappedResult(NULL, &overlapped, &bytes, FALSE), ERROR_NETNAME_DELETED);
    EQUAL(bytes, 5);
}

static void t01_no_wait_ends_early(void)
{
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, NULL);
    LARGE_INTEGER frequency, begun, ended;
    int i;
    QueryPerformanceFrequency(&frequency);
    for (i = 1; i < 20; i += 6) {
        QueryPerformanceCounter(&begun);
        EQUAL(WaitForSingleObject(event, i), WAIT_TIMEOUT);
        QueryPerformanceCounter(&ended);
        CHECK((ended.QuadPart - begun.QuadPart) * 1000 >= (i - 1) * frequency.QuadPart);
    }
    CloseHandle(event);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(r01_a_routine_runs_only_inside_an_alertable_wait_of_its_thread);
    RUN(r02_one_wait_runs_all_that_is_queued_in_order);
    RUN(r03_a_sleep_that_nothing_ends_takes_its_time);
    RUN(r05_an_apc_ends_a_wait_and_the_object_is_not_consumed);
    RUN(r06_an_apc_queued_before_the_thread_runs_comes_first);
    RUN(r06_apcs_of_a_thread_that_never_waits_alertably_vanish_with_it);
    RUN(r07_a_routine_of_a_failure_gets_the_error_and_no_bytes);
    RUN(r08_all_alertable_waits_run_routines);
    RUN(r09_a_plain_receive_that_waits_runs_apcs_and_goes_on);
    RUN(x04_a_threads_exit_cancels_what_it_has_started);
    RUN(e01_events_of_both_kinds);
    RUN(e02_waits_for_several);
    RUN(e02_mutexes_and_semaphores);
    RUN(e02_a_mutex_whose_owner_ends_is_abandoned);
    RUN(e04_a_thread_handle_is_signalled_at_its_exit_and_keeps_the_code);
    RUN(e04_a_thread_may_end_inside_an_apc);
    RUN(c09_the_event_is_reset_at_the_start_and_set_at_the_end);
    RUN(c09_without_an_event_the_handle_is_signalled);
    RUN(c15_the_winsock_result_checks_the_socket_first);
    RUN(t01_no_wait_ends_early);
    return summary();
}
