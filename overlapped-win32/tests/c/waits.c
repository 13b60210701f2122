/* W: waits that call back; what is asked of handles, threads and the process. */
#include "check.h"

typedef struct {
    HANDLE event;
    volatile LONG calls, late, inside;
    DWORD thread;
    HANDLE gate;
} Watch;

static VOID CALLBACK called(PVOID of, BOOLEAN timed_out)
{
    Watch *watch = (Watch *)of;
    InterlockedIncrement(&watch->inside);
    watch->thread = GetCurrentThreadId();
    if (timed_out)
        InterlockedIncrement(&watch->late);
    InterlockedIncrement(&watch->calls);
    if (watch->gate)
        WaitForSingleObject(watch->gate, 10000);
    InterlockedDecrement(&watch->inside);
}

static BOOL within(volatile LONG *what, LONG count)
{
    int round;
    for (round = 0; round < 500 && *what < count; round++)
        Sleep(10);
    return *what >= count;
}

static void w01_each_signal_of_an_event_is_called_back(void)
{
    Watch watch = {0};
    HANDLE wait = NULL;
    int round;
    watch.event = CreateEventA(NULL, FALSE, FALSE, NULL);
    CHECK(RegisterWaitForSingleObject(&wait, watch.event, called, &watch, INFINITE, WT_EXECUTEDEFAULT));
    CHECK(wait != NULL);
    Sleep(30);
    EQUAL(watch.calls, 0);
    for (round = 1; round <= 3; round++) {
        SetEvent(watch.event);
        CHECK(within(&watch.calls, round));
    }
    EQUAL(watch.late, 0);
    CHECK(watch.thread != GetCurrentThreadId());
    CHECK(UnregisterWaitEx(wait, INVALID_HANDLE_VALUE));
    SetEvent(watch.event);
    Sleep(50);
    EQUAL(watch.calls, 3);
    CloseHandle(watch.event);
}

static void w02_a_wait_that_is_once_and_one_whose_time_is_up(void)
{
    Watch watch = {0};
    HANDLE wait = NULL;
    watch.event = CreateEventA(NULL, TRUE, TRUE, NULL);
    CHECK(RegisterWaitForSingleObject(&wait, watch.event, called, &watch, INFINITE, WT_EXECUTEONLYONCE));
    CHECK(within(&watch.calls, 1));
    Sleep(50);
    EQUAL(watch.calls, 1);
    CHECK(UnregisterWaitEx(wait, INVALID_HANDLE_VALUE));
    ResetEvent(watch.event);
    watch.calls = 0;
    CHECK(RegisterWaitForSingleObject(&wait, watch.event, called, &watch, 20, WT_EXECUTEINWAITTHREAD));
    if (WINE_DIFFERS("it calls back for the first time only")) {
        CHECK(within(&watch.late, 1));
        CHECK(!UnregisterWaitEx(wait, INVALID_HANDLE_VALUE) || watch.late > 0);
    } else {
        CHECK(within(&watch.late, 3)); /* again and again */
        CHECK(UnregisterWaitEx(wait, INVALID_HANDLE_VALUE));
        EQUAL(watch.inside, 0);
        EQUAL(watch.calls, watch.late);
    }
    CloseHandle(watch.event);
}

static void w03_the_end_of_a_wait_waits_for_callbacks_if_it_is_told_to(void)
{
    Watch watch = {0};
    HANDLE wait = NULL, ended = CreateEventA(NULL, TRUE, FALSE, NULL);
    watch.event = CreateEventA(NULL, FALSE, TRUE, NULL);
    watch.gate = CreateEventA(NULL, TRUE, FALSE, NULL);
    CHECK(RegisterWaitForSingleObject(&wait, watch.event, called, &watch, INFINITE, WT_EXECUTEONLYONCE | WT_EXECUTELONGFUNCTION));
    CHECK(within(&watch.calls, 1));
    FAILS(!UnregisterWaitEx(wait, ended), ERROR_IO_PENDING);
    EQUAL(WaitForSingleObject(ended, 50), WAIT_TIMEOUT);
    SetEvent(watch.gate);
    EQUAL(WaitForSingleObject(ended, 5000), WAIT_OBJECT_0);
    CloseHandle(watch.event);
    CloseHandle(watch.gate);
    CloseHandle(ended);
    if (!WINE_DIFFERS("what is no handle is found out later, and keeps other waits from being served"))
        FAILS(!RegisterWaitForSingleObject(&wait, (HANDLE)(ULONG_PTR)0x7FFFFFF0, called, &watch, INFINITE, 0), ERROR_INVALID_HANDLE);
}

static void w04_many_waits(void)
{
    enum { COUNT = 100 }; /* more than one WaitForMultipleObjects takes */
    static Watch watches[COUNT];
    HANDLE waits[COUNT];
    int at, count = WINE_DIFFERS("some of more than 63 are missed") ? 40 : COUNT;
    for (at = 0; at < count; at++) {
        watches[at].event = CreateEventA(NULL, FALSE, FALSE, NULL);
        CHECK(RegisterWaitForSingleObject(&waits[at], watches[at].event, called, &watches[at], INFINITE, 0));
    }
    for (at = 0; at < count; at++)
        SetEvent(watches[at].event);
    for (at = 0; at < count; at++) {
        CHECK(within(&watches[at].calls, 1));
        CHECK(UnregisterWaitEx(waits[at], INVALID_HANDLE_VALUE));
        EQUAL(watches[at].calls, 1);
        CloseHandle(watches[at].event);
    }
}

static void w05_flags_of_a_handle(void)
{
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, NULL);
    DWORD flags = 77;
    CHECK(GetHandleInformation(event, &flags));
    EQUAL(flags, 0);
    CHECK(SetHandleInformation(event, HANDLE_FLAG_INHERIT | HANDLE_FLAG_PROTECT_FROM_CLOSE, HANDLE_FLAG_PROTECT_FROM_CLOSE));
    CHECK(GetHandleInformation(event, &flags));
    EQUAL(flags, HANDLE_FLAG_PROTECT_FROM_CLOSE);
    FAILS(!CloseHandle(event), ERROR_INVALID_HANDLE);
    CHECK(SetEvent(event));
    CHECK(SetHandleInformation(event, HANDLE_FLAG_PROTECT_FROM_CLOSE, 0));
    CHECK(CloseHandle(event));
    FAILS(!GetHandleInformation(event, &flags), ERROR_INVALID_HANDLE);
    FAILS(!SetHandleInformation(event, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT), ERROR_INVALID_HANDLE);
}

static ULONG_PTR got;

static VOID CALLBACK apc(ULONG_PTR data)
{
    got = data;
}

static volatile LONG begun;

static DWORD WINAPI sleep_alertably(LPVOID unused)
{
    (void)unused;
    begun = 1; /* an APC that came before would have run by now */
    return SleepEx(10000, TRUE) == WAIT_IO_COMPLETION ? 7 : 8;
}

static void w06_a_thread_is_opened_by_its_number(void)
{
    DWORD id = 0, code = 0;
    HANDLE thread = CreateThread(NULL, 0, sleep_alertably, NULL, 0, &id), again;
    again = OpenThread(THREAD_ALL_ACCESS, FALSE, id);
    CHECK(again != NULL && again != thread);
    CHECK(within(&begun, 1));
    EQUAL(GetThreadId(again), id);
    CHECK(QueueUserAPC(apc, again, 42));
    EQUAL(WaitForSingleObject(again, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(again, &code));
    EQUAL(code, 7);
    EQUAL(got, 42);
    CloseHandle(again);
    CloseHandle(thread);
    again = OpenThread(THREAD_ALL_ACCESS, FALSE, GetCurrentThreadId());
    CHECK(again != NULL);
    CloseHandle(again);
    FAILS(OpenThread(THREAD_ALL_ACCESS, FALSE, 0) == NULL, ERROR_INVALID_PARAMETER);
}

static void w07_processors(void)
{
    DWORD_PTR own = 0, system = 0, before, one;
    CHECK(GetProcessAffinityMask(GetCurrentProcess(), &own, &system));
    CHECK(own != 0 && (own & ~system) == 0);
    one = own & (~own + 1);
    before = SetThreadAffinityMask(GetCurrentThread(), one);
    EQUAL(before, own);
    EQUAL(GetCurrentProcessorNumber(), one == 1 ? 0 : GetCurrentProcessorNumber());
    EQUAL(SetThreadAffinityMask(GetCurrentThread(), own), one);
    FAILS(SetThreadAffinityMask(GetCurrentThread(), 0) == 0, ERROR_INVALID_PARAMETER);
    FAILS(SetThreadAffinityMask((HANDLE)(ULONG_PTR)0x7FFFFFF0, 1) == 0, ERROR_INVALID_HANDLE);
    CHECK(SetProcessAffinityMask(GetCurrentProcess(), one));
    CHECK(GetProcessAffinityMask(GetCurrentProcess(), &before, &system));
    EQUAL(before, one);
    CHECK(SetProcessAffinityMask(GetCurrentProcess(), own));
    CHECK(SetThreadIdealProcessor(GetCurrentThread(), 0) != (DWORD)-1);
    EQUAL(SetThreadIdealProcessor(GetCurrentThread(), MAXIMUM_PROCESSORS), 0);
    FAILS(SetThreadIdealProcessor(GetCurrentThread(), 1000) == (DWORD)-1, ERROR_INVALID_PARAMETER);
}

static void w08_the_process_has_not_ended(void)
{
    DWORD code = 0;
    CHECK(GetExitCodeProcess(GetCurrentProcess(), &code));
    EQUAL(code, STILL_ACTIVE);
    FAILS(!GetExitCodeProcess((HANDLE)(ULONG_PTR)0x7FFFFFF0, &code), ERROR_INVALID_HANDLE);
}

int main(void)
{
    use_all();
    start_winsock();
    RUN(w01_each_signal_of_an_event_is_called_back);
    RUN(w02_a_wait_that_is_once_and_one_whose_time_is_up);
    RUN(w03_the_end_of_a_wait_waits_for_callbacks_if_it_is_told_to);
    RUN(w04_many_waits);
    RUN(w05_flags_of_a_handle);
    RUN(w06_a_thread_is_opened_by_its_number);
    RUN(w07_processors);
    RUN(w08_the_process_has_not_ended);
    return summary();
}
