/* F: files; the process's pool of threads, which hears of their ends. */
#include "check.h"

static char name[MAX_PATH];

static HANDLE temporary(DWORD flags)
{
    char path[MAX_PATH];
    HANDLE file;
    CHECK(GetTempPathA(sizeof path, path) > 0);
    CHECK(GetTempFileNameA(path, "ovl", 0, name) != 0);
    file = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, flags | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
    return file;
}

static OVERLAPPED at(DWORD offset)
{
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.Offset = offset;
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    return overlapped;
}

/* The outcome of a call that may have gone pending. */
static BOOL finish(HANDLE file, BOOL called, OVERLAPPED *overlapped, DWORD *bytes)
{
    if (!called && GetLastError() != ERROR_IO_PENDING)
        return FALSE;
    return GetOverlappedResult(file, overlapped, bytes, TRUE);
}

static void f01_each_operation_has_its_own_offset(void)
{
    HANDLE file = temporary(FILE_FLAG_OVERLAPPED);
    OVERLAPPED first = at(0), second = at(4);
    char in[8];
    DWORD bytes = 0;
    BOOL called = WriteFile(file, "efgh", 4, NULL, &second);
    CHECK(finish(file, called, &second, &bytes));
    EQUAL(bytes, 4);
    called = WriteFile(file, "abcd", 4, NULL, &first);
    CHECK(finish(file, called, &first, &bytes));
    FAILS(!ReadFile(file, in, 8, &bytes, NULL), ERROR_INVALID_PARAMETER);
    called = ReadFile(file, in, 8, NULL, &first);
    CHECK(finish(file, called, &first, &bytes));
    EQUAL(bytes, 8);
    CHECK(memcmp(in, "abcdefgh", 8) == 0);
    /* all ones appends */
    first.Offset = first.OffsetHigh = 0xFFFFFFFF;
    called = WriteFile(file, "ij", 2, NULL, &first);
    CHECK(finish(file, called, &first, &bytes));
    EQUAL(GetFileSize(file, NULL), 10);
    CloseHandle(first.hEvent);
    CloseHandle(second.hEvent);
    CloseHandle(file);
    EQUAL(GetFileAttributesA(name), INVALID_FILE_ATTRIBUTES);
}

static void f01_a_synchronous_handle_moves_its_position(void)
{
    HANDLE file = temporary(0);
    OVERLAPPED third = at(2);
    char in[8];
    DWORD bytes = 0;
    CHECK(WriteFile(file, "0123456789", 10, &bytes, NULL));
    EQUAL(SetFilePointer(file, 1, NULL, FILE_BEGIN), 1);
    CHECK(ReadFile(file, in, 2, &bytes, NULL));
    CHECK(bytes == 2 && memcmp(in, "12", 2) == 0);
    CHECK(ReadFile(file, in, 3, &bytes, &third)); /* at its offset, and the position is behind it */
    CHECK(bytes == 3 && memcmp(in, "234", 3) == 0);
    CHECK(ReadFile(file, in, 2, &bytes, NULL));
    CHECK(bytes == 2 && memcmp(in, "56", 2) == 0);
    EQUAL(SetFilePointer(file, 4, NULL, FILE_BEGIN), 4);
    CHECK(SetEndOfFile(file));
    EQUAL(GetFileSize(file, NULL), 4);
    FAILS(SetFilePointer(file, -1, NULL, FILE_BEGIN) == INVALID_SET_FILE_POINTER, ERROR_NEGATIVE_SEEK);
    CHECK(FlushFileBuffers(file));
    CloseHandle(third.hEvent);
    CloseHandle(file);
}

static void f02_the_tail_and_the_end(void)
{
    HANDLE file = temporary(FILE_FLAG_OVERLAPPED);
    OVERLAPPED overlapped = at(0);
    char in[8];
    DWORD bytes = 0;
    BOOL called = WriteFile(file, "abc", 3, NULL, &overlapped);
    CHECK(finish(file, called, &overlapped, &bytes));
    called = ReadFile(file, in, 8, NULL, &overlapped);
    CHECK(finish(file, called, &overlapped, &bytes));
    EQUAL(bytes, 3);
    overlapped.Offset = 3;
    FAILS(!finish(file, ReadFile(file, in, 8, NULL, &overlapped), &overlapped, &bytes), ERROR_HANDLE_EOF);
    CloseHandle(overlapped.hEvent);
    CloseHandle(file);
    file = temporary(0);
    CHECK(ReadFile(file, in, 8, &bytes, NULL)); /* no overlapped: success, and nothing */
    EQUAL(bytes, 0);
    overlapped = at(0);
    FAILS(!ReadFile(file, in, 8, &bytes, &overlapped), ERROR_HANDLE_EOF);
    CloseHandle(overlapped.hEvent);
    CloseHandle(file);
}

static void f03_what_is_refused(void)
{
    SOCKET a, b;
    HANDLE file = temporary(0);
    OVERLAPPED overlapped = at(0);
    char in[4];
    DWORD bytes = 7;
    FAILS(!ReadFile((HANDLE)(ULONG_PTR)0x7FFFFFF0, in, 4, &bytes, NULL), ERROR_INVALID_HANDLE);
    FAILS(!ReadFile(file, NULL, 4, &bytes, NULL), ERROR_NOACCESS);
    FAILS(!WriteFile(file, NULL, 4, &bytes, NULL), ERROR_INVALID_USER_BUFFER);
    FAILS(CreateFileA("no such directory/file", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE,
          ERROR_PATH_NOT_FOUND);
    FAILS(CreateFileA("no such file", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE,
          ERROR_FILE_NOT_FOUND);
    CloseHandle(file);
    /* on sockets they do what WSARecv and WSASend do */
    connected_pair(&a, &b);
    FAILS(!ReadFile((HANDLE)b, in, 4, NULL, &overlapped), ERROR_IO_PENDING);
    EQUAL(send(a, "abcd", 4, 0), 4);
    CHECK(GetOverlappedResult((HANDLE)b, &overlapped, &bytes, TRUE));
    EQUAL(bytes, 4);
    {
        BOOL called = WriteFile((HANDLE)b, "efgh", 4, NULL, &overlapped);
        CHECK(finish((HANDLE)b, called, &overlapped, &bytes));
    }
    EQUAL(recv_all(a, in, 4), 4);
    CloseHandle(overlapped.hEvent);
    closesocket(a);
    closesocket(b);
}

static int runs;
static DWORD last_code, last_bytes;

static VOID CALLBACK routine(DWORD error, DWORD bytes, OVERLAPPED *overlapped)
{
    (void)overlapped;
    runs++;
    last_code = error;
    last_bytes = bytes;
}

static void r10_the_extended_calls_tell_a_routine(void)
{
    HANDLE file = temporary(FILE_FLAG_OVERLAPPED);
    OVERLAPPED overlapped;
    char in[8];
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = (HANDLE)(ULONG_PTR)0x77; /* the program's own */
    runs = 0;
    CHECK(WriteFileEx(file, "abcdef", 6, &overlapped, routine));
    EQUAL(SleepEx(5000, TRUE), WAIT_IO_COMPLETION);
    CHECK(runs == 1 && last_code == 0 && last_bytes == 6);
    CHECK(ReadFileEx(file, in, 8, &overlapped, routine));
    EQUAL(SleepEx(5000, TRUE), WAIT_IO_COMPLETION);
    CHECK(runs == 2 && last_code == 0 && last_bytes == 6);
    FAILS(!ReadFileEx(file, in, 8, NULL, routine), ERROR_INVALID_PARAMETER);
    EQUAL(SleepEx(0, TRUE), 0);
    CloseHandle(file);
}

static void a06_the_extended_calls_refuse_a_handle_of_a_port(void)
{
    HANDLE file = temporary(FILE_FLAG_OVERLAPPED), port = CreateIoCompletionPort(file, NULL, 4, 0);
    OVERLAPPED overlapped, *which = NULL;
    char in[8];
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    BOOL called;
    memset(&overlapped, 0, sizeof overlapped);
    if (WINE_DIFFERS("it takes a routine on a handle of a port")) {
        CHECK(ReadFileEx(file, in, 8, &overlapped, routine));
        SleepEx(100, TRUE);
    } else {
        FAILS(!ReadFileEx(file, in, 8, &overlapped, routine), ERROR_INVALID_PARAMETER);
    }
    called = WriteFile(file, "abcdef", 6, NULL, &overlapped);
    CHECK(called || GetLastError() == ERROR_IO_PENDING);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
    CHECK(bytes == 6 && key == 4 && which == &overlapped);
    overlapped.Offset = 100;
    called = ReadFile(file, in, 8, NULL, &overlapped);
    if (!called && GetLastError() == ERROR_IO_PENDING)
        FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000), ERROR_HANDLE_EOF);
    CloseHandle(file);
    CloseHandle(port);
}

static HANDLE done;
static DWORD pool_code, pool_bytes, pool_thread;

static VOID CALLBACK on_the_pool(DWORD code, DWORD bytes, OVERLAPPED *overlapped)
{
    (void)overlapped;
    pool_code = code;
    pool_bytes = bytes;
    pool_thread = GetCurrentThreadId();
    SetEvent(done);
}

static void the_pool_hears_of_a_bound_files_operations(void)
{
    HANDLE file = temporary(FILE_FLAG_OVERLAPPED);
    OVERLAPPED overlapped;
    BOOL called;
    memset(&overlapped, 0, sizeof overlapped);
    done = CreateEventA(NULL, FALSE, FALSE, NULL);
    CHECK(BindIoCompletionCallback(file, on_the_pool, 0));
    called = WriteFile(file, "abcdef", 6, NULL, &overlapped);
    CHECK(called || GetLastError() == ERROR_IO_PENDING);
    EQUAL(WaitForSingleObject(done, 5000), WAIT_OBJECT_0);
    CHECK(pool_code == 0 && pool_bytes == 6 && pool_thread != GetCurrentThreadId());
    CloseHandle(file);
    CloseHandle(done);
}

static LONG items;

static DWORD WINAPI item(void *unused)
{
    (void)unused;
    if (InterlockedIncrement(&items) == 100)
        SetEvent(done);
    return 0;
}

static DWORD WINAPI waits_for_the_rest(void *unused)
{
    (void)unused;
    return WaitForSingleObject(done, 5000);
}

static void the_pool_does_work_that_waits_for_other_work(void)
{
    int i;
    items = 0;
    done = CreateEventA(NULL, TRUE, FALSE, NULL);
    for (i = 0; i < 8; i++)
        CHECK(QueueUserWorkItem(waits_for_the_rest, NULL, WT_EXECUTELONGFUNCTION));
    for (i = 0; i < 100; i++)
        CHECK(QueueUserWorkItem(item, NULL, 0));
    EQUAL(WaitForSingleObject(done, 10000), WAIT_OBJECT_0);
    Sleep(50);
    CloseHandle(done);
}

int main(void)
{
    start_winsock();
    use_all();
    RUN(f01_each_operation_has_its_own_offset);
    RUN(f01_a_synchronous_handle_moves_its_position);
    RUN(f02_the_tail_and_the_end);
    RUN(f03_what_is_refused);
    RUN(r10_the_extended_calls_tell_a_routine);
    RUN(a06_the_extended_calls_refuse_a_handle_of_a_port);
    RUN(the_pool_hears_of_a_bound_files_operations);
    RUN(the_pool_does_work_that_waits_for_other_work);
    return summary();
}
