/* N: named pipes and anonymous ones, between threads and between processes. The program is its own second process. */
#include "check.h"

static char path[64], self[1024];
static LONG names;

static const char *fresh_name(void)
{
    sprintf(path, "\\\\.\\pipe\\ovl-test-%lu-%ld", (unsigned long)GetCurrentProcessId(), (long)InterlockedIncrement(&names));
    return path;
}

static HANDLE server(DWORD open, DWORD mode, DWORD most)
{
    return CreateNamedPipeA(path, open, mode, most, 4096, 4096, 0, NULL);
}

static HANDLE client(DWORD access, DWORD flags)
{
    return CreateFileA(path, access, 0, NULL, OPEN_EXISTING, flags, NULL);
}

/* Two connected ends, of the kind that `mode` says. */
static void connected(DWORD mode, DWORD flags, HANDLE *a, HANDLE *b)
{
    DWORD read = mode & PIPE_READMODE_MESSAGE;
    fresh_name();
    *a = server(PIPE_ACCESS_DUPLEX | flags, mode, 1);
    CHECK(*a != INVALID_HANDLE_VALUE);
    *b = client(GENERIC_READ | GENERIC_WRITE, flags);
    CHECK(*b != INVALID_HANDLE_VALUE);
    if (read)
        CHECK(SetNamedPipeHandleState(*b, &read, NULL, NULL));
}

#define MESSAGES (PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT)

static OVERLAPPED with_event(void)
{
    OVERLAPPED overlapped;
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    return overlapped;
}

static BOOL finish(HANDLE file, BOOL called, OVERLAPPED *overlapped, DWORD *bytes)
{
    if (!called && GetLastError() != ERROR_IO_PENDING)
        return FALSE;
    return GetOverlappedResult(file, overlapped, bytes, TRUE);
}

static void n01_what_is_refused(void)
{
    HANDLE a, b;
    DWORD number = 1;
    fresh_name();
    FAILS(CreateNamedPipeA("no pipe", PIPE_ACCESS_DUPLEX, 0, 1, 0, 0, 0, NULL) == INVALID_HANDLE_VALUE, ERROR_INVALID_NAME);
    FAILS(server(0, 0, 1) == INVALID_HANDLE_VALUE, ERROR_INVALID_PARAMETER);
    FAILS(server(PIPE_ACCESS_DUPLEX, PIPE_READMODE_MESSAGE, 1) == INVALID_HANDLE_VALUE, ERROR_INVALID_PARAMETER);
    FAILS(client(GENERIC_READ, 0) == INVALID_HANDLE_VALUE, ERROR_FILE_NOT_FOUND);
    FAILS(!WaitNamedPipeA(path, 10), ERROR_FILE_NOT_FOUND);
    a = server(PIPE_ACCESS_INBOUND, 0, 1);
    CHECK(a != INVALID_HANDLE_VALUE);
    FAILS(server(PIPE_ACCESS_INBOUND, 0, 1) == INVALID_HANDLE_VALUE, ERROR_PIPE_BUSY);
    FAILS(server(PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE, 0, 1) == INVALID_HANDLE_VALUE,
          WINE_DIFFERS("the instances are counted first") ? ERROR_PIPE_BUSY : ERROR_ACCESS_DENIED);
    FAILS(client(GENERIC_READ, 0) == INVALID_HANDLE_VALUE, ERROR_ACCESS_DENIED);
    FAILS(!ReadFile(a, &number, 1, &number, NULL), ERROR_PIPE_LISTENING);
    FAILS(!PeekNamedPipe(a, NULL, 0, NULL, NULL, NULL), ERROR_BAD_PIPE);
    b = client(GENERIC_WRITE, 0);
    CHECK(b != INVALID_HANDLE_VALUE);
    FAILS(!ConnectNamedPipe(a, NULL), ERROR_PIPE_CONNECTED);
    FAILS(client(GENERIC_WRITE, 0) == INVALID_HANDLE_VALUE, ERROR_PIPE_BUSY);
    FAILS(!WaitNamedPipeA(path, 30), ERROR_SEM_TIMEOUT);
    FAILS(!ReadFile(b, &number, 1, &number, NULL), ERROR_ACCESS_DENIED);
    FAILS(!PeekNamedPipe((HANDLE)(ULONG_PTR)0x7FFFFFF0, NULL, 0, NULL, NULL, NULL), ERROR_INVALID_HANDLE);
    CloseHandle(b);
    FAILS(!ConnectNamedPipe(a, NULL), ERROR_NO_DATA);
    CHECK(DisconnectNamedPipe(a));
    FAILS(!ReadFile(a, &number, 1, &number, NULL), ERROR_PIPE_NOT_CONNECTED);
    FAILS(!DisconnectNamedPipe(a), ERROR_PIPE_NOT_CONNECTED);
    CloseHandle(a);
    FAILS(client(GENERIC_WRITE, 0) == INVALID_HANDLE_VALUE, ERROR_FILE_NOT_FOUND);
    if (WINE_DIFFERS("a pipe may have no instances")) {
        a = server(PIPE_ACCESS_DUPLEX, 0, 0);
        CHECK(a != INVALID_HANDLE_VALUE);
        CloseHandle(a);
    } else {
        FAILS(server(PIPE_ACCESS_DUPLEX, 0, 0) == INVALID_HANDLE_VALUE, ERROR_INVALID_PARAMETER);
    }
}

static void n02_bytes_come_as_a_stream_until_the_other_end_is_closed(void)
{
    HANDLE a, b;
    char in[16];
    DWORD bytes = 0, mode = PIPE_READMODE_MESSAGE;
    connected(PIPE_TYPE_BYTE, 0, &a, &b);
    FAILS(!SetNamedPipeHandleState(a, &mode, NULL, NULL), ERROR_INVALID_PARAMETER);
    CHECK(WriteFile(b, "abc", 3, &bytes, NULL) && bytes == 3);
    CHECK(WriteFile(b, "def", 3, &bytes, NULL) && bytes == 3);
    CHECK(ReadFile(a, in, 2, &bytes, NULL) && bytes == 2);
    CHECK(ReadFile(a, in + 2, 14, &bytes, NULL) && bytes == 4);
    CHECK(memcmp(in, "abcdef", 6) == 0);
    EQUAL(GetFileType(a), FILE_TYPE_PIPE);
    CHECK(WriteFile(b, "last", 4, &bytes, NULL));
    CloseHandle(b);
    CHECK(ReadFile(a, in, 16, &bytes, NULL) && bytes == 4); /* what was written is still there */
    FAILS(!ReadFile(a, in, 16, &bytes, NULL), ERROR_BROKEN_PIPE);
    FAILS(!WriteFile(a, "x", 1, &bytes, NULL), ERROR_NO_DATA);
    CloseHandle(a);
}

static void n03_messages_keep_their_bounds(void)
{
    HANDLE a, b;
    char in[16];
    DWORD bytes = 0, available = 0, left = 0;
    connected(MESSAGES, 0, &a, &b);
    CHECK(WriteFile(b, "first", 5, &bytes, NULL));
    CHECK(WriteFile(b, "second", 6, &bytes, NULL));
    CHECK(PeekNamedPipe(a, in, 3, &bytes, &available, &left));
    EQUAL(bytes, 3);
    EQUAL(available, 11);
    EQUAL(left, 2);
    CHECK(ReadFile(a, in, 16, &bytes, NULL));
    CHECK(bytes == 5 && memcmp(in, "first", 5) == 0);
    FAILS(!ReadFile(a, in, 4, &bytes, NULL), ERROR_MORE_DATA);
    CHECK(bytes == 4 && memcmp(in, "seco", 4) == 0);
    CHECK(PeekNamedPipe(a, NULL, 0, NULL, &available, &left));
    EQUAL(available, 2);
    EQUAL(left, 2);
    CHECK(ReadFile(a, in, 4, &bytes, NULL));
    CHECK(bytes == 2 && memcmp(in, "nd", 2) == 0);
    CHECK(WriteFile(a, in, 0, &bytes, NULL)); /* nothing is a message, too */
    CHECK(ReadFile(b, in, 4, &bytes, NULL));
    EQUAL(bytes, 0);
    CHECK(PeekNamedPipe(a, NULL, 0, NULL, &available, &left));
    CHECK(available == 0 && left == 0);
    CloseHandle(a);
    FAILS(!PeekNamedPipe(b, NULL, 0, NULL, &available, &left), ERROR_BROKEN_PIPE);
    CloseHandle(b);
}

static void n03_who_reads_bytes_sees_no_bounds(void)
{
    HANDLE a, b;
    char in[16];
    DWORD bytes = 0;
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 1);
    b = client(GENERIC_READ | GENERIC_WRITE, 0);
    CHECK(WriteFile(a, "abc", 3, &bytes, NULL));
    CHECK(WriteFile(a, "def", 3, &bytes, NULL));
    CHECK(ReadFile(b, in, 4, &bytes, NULL));
    CHECK(bytes == 4 && memcmp(in, "abcd", 4) == 0);
    CHECK(ReadFile(b, in, 16, &bytes, NULL));
    CHECK(bytes == 2 && memcmp(in, "ef", 2) == 0);
    CloseHandle(a);
    CloseHandle(b);
}

static void n04_a_server_waits_for_clients_overlapped(void)
{
    HANDLE a, b;
    OVERLAPPED wait = with_event();
    char in[8];
    DWORD bytes = 77;
    int round;
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE, 1);
    for (round = 0; round < 3; round++) {
        FAILS(!ConnectNamedPipe(a, &wait), ERROR_IO_PENDING);
        EQUAL(WaitForSingleObject(wait.hEvent, 20), WAIT_TIMEOUT);
        CHECK(WaitNamedPipeA(path, 1000));
        b = client(GENERIC_READ | GENERIC_WRITE, 0);
        CHECK(b != INVALID_HANDLE_VALUE);
        EQUAL(WaitForSingleObject(wait.hEvent, 5000), WAIT_OBJECT_0);
        CHECK(GetOverlappedResult(a, &wait, &bytes, FALSE));
        EQUAL(bytes, 0);
        CHECK(WriteFile(b, "hello", 5, &bytes, NULL));
        CHECK(finish(a, ReadFile(a, in, 8, NULL, &wait), &wait, &bytes));
        EQUAL(bytes, 5);
        /* what the client has not read is lost, and it is told at once */
        CHECK(finish(a, WriteFile(a, "lost", 4, NULL, &wait), &wait, &bytes));
        CHECK(DisconnectNamedPipe(a));
        FAILS(!ReadFile(b, in, 8, &bytes, NULL), ERROR_PIPE_NOT_CONNECTED);
        FAILS(!WriteFile(b, in, 1, &bytes, NULL), ERROR_PIPE_NOT_CONNECTED);
        CloseHandle(b);
    }
    FAILS(!ConnectNamedPipe(a, &wait), ERROR_IO_PENDING);
    CHECK(CancelIoEx(a, &wait));
    FAILS(!GetOverlappedResult(a, &wait, &bytes, TRUE), ERROR_OPERATION_ABORTED);
    CloseHandle(a);
    CloseHandle(wait.hEvent);
}

static DWORD WINAPI wait_for_a_client(LPVOID of)
{
    return ConnectNamedPipe((HANDLE)of, NULL) ? 0 : GetLastError();
}

static void n04_a_server_waits_for_a_client_in_a_plain_call(void)
{
    HANDLE a, b, thread;
    DWORD code = 0;
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1);
    thread = CreateThread(NULL, 0, wait_for_a_client, a, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 50), WAIT_TIMEOUT);
    b = client(GENERIC_READ | GENERIC_WRITE, 0);
    CHECK(b != INVALID_HANDLE_VALUE);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code) && (code == 0 || code == ERROR_PIPE_CONNECTED));
    CloseHandle(thread);
    CloseHandle(a);
    CloseHandle(b);
}

static void n05_a_read_waits_and_ends_with_its_message(void)
{
    HANDLE a, b;
    OVERLAPPED first = with_event(), second = with_event();
    char in[4], more[8];
    DWORD bytes = 77;
    connected(MESSAGES, FILE_FLAG_OVERLAPPED, &a, &b);
    FAILS(!ReadFile(a, in, 4, NULL, &first), ERROR_IO_PENDING);
    FAILS(!ReadFile(a, more, 8, NULL, &second), ERROR_IO_PENDING);
    EQUAL(first.Internal, STATUS_PENDING);
    FAILS(!GetOverlappedResult(a, &first, &bytes, FALSE), ERROR_IO_INCOMPLETE);
    {
        OVERLAPPED write = with_event();
        BOOL called = WriteFile(b, "abcdef", 6, NULL, &write);
        CHECK(finish(b, called, &write, &bytes));
        CloseHandle(write.hEvent);
    }
    FAILS(!GetOverlappedResult(a, &first, &bytes, TRUE), ERROR_MORE_DATA);
    EQUAL(bytes, 4);
    CHECK(GetOverlappedResult(a, &second, &bytes, TRUE));
    CHECK(bytes == 2 && memcmp(in, "abcd", 4) == 0 && memcmp(more, "ef", 2) == 0);
    /* the other end is closed under a read that waits */
    FAILS(!ReadFile(a, in, 4, NULL, &first), ERROR_IO_PENDING);
    CloseHandle(b);
    FAILS(!GetOverlappedResult(a, &first, &bytes, TRUE), ERROR_BROKEN_PIPE);
    CloseHandle(first.hEvent);
    CloseHandle(second.hEvent);
    CloseHandle(a);
}

static void n06_a_port_hears_of_a_pipe(void)
{
    HANDLE a, b, port;
    OVERLAPPED wait, read, *which = NULL;
    char in[4];
    DWORD bytes = 77;
    ULONG_PTR key = 0;
    memset(&wait, 0, sizeof wait);
    memset(&read, 0, sizeof read);
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, MESSAGES, 1);
    port = CreateIoCompletionPort(a, NULL, 42, 0);
    CHECK(port != NULL);
    FAILS(!ConnectNamedPipe(a, &wait), ERROR_IO_PENDING);
    b = client(GENERIC_READ | GENERIC_WRITE, 0);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
    CHECK(which == &wait && key == 42 && bytes == 0);
    FAILS(!ReadFile(a, in, 4, NULL, &read), ERROR_IO_PENDING);
    CHECK(WriteFile(b, "abcdef", 6, &bytes, NULL));
    FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000), ERROR_MORE_DATA);
    CHECK(which == &read && key == 42 && bytes == 4);
    /* one that ends at once has its packet, too */
    CHECK(ReadFile(a, in, 4, NULL, &read) || GetLastError() == ERROR_IO_PENDING);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &which, 5000));
    CHECK(which == &read && bytes == 2);
    /* one that fails at once has none */
    CloseHandle(b);
    Sleep(20);
    CHECK(!ReadFile(a, in, 4, NULL, &read));
    if (GetLastError() != ERROR_IO_PENDING) {
        EQUAL(GetLastError(), ERROR_BROKEN_PIPE);
        FAILS(!GetQueuedCompletionStatus(port, &bytes, &key, &which, 50), WAIT_TIMEOUT);
    }
    CloseHandle(a);
    CloseHandle(port);
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

static void n07_routines_hear_of_a_pipe(void)
{
    HANDLE a, b;
    OVERLAPPED overlapped;
    char in[8];
    connected(MESSAGES, FILE_FLAG_OVERLAPPED, &a, &b);
    memset(&overlapped, 0, sizeof overlapped);
    runs = 0;
    CHECK(ReadFileEx(a, in, 8, &overlapped, routine));
    EQUAL(SleepEx(20, TRUE), 0);
    {
        OVERLAPPED write;
        memset(&write, 0, sizeof write);
        CHECK(WriteFileEx(b, "abc", 3, &write, routine));
        EQUAL(SleepEx(5000, TRUE), WAIT_IO_COMPLETION);
        while (runs < 2)
            SleepEx(5000, TRUE);
        CHECK(last_code == 0 && last_bytes == 3 && memcmp(in, "abc", 3) == 0);
    }
    CHECK(ReadFileEx(a, in, 8, &overlapped, routine));
    CHECK(CancelIo(a));
    EQUAL(SleepEx(5000, TRUE), WAIT_IO_COMPLETION);
    CHECK(runs == 3 && last_code == ERROR_OPERATION_ABORTED && last_bytes == 0);
    CloseHandle(a);
    CloseHandle(b);
}

/* Answers each message with itself, twice as long, until the client goes. */
static DWORD WINAPI answer(LPVOID of)
{
    HANDLE pipe = (HANDLE)of;
    char in[64];
    DWORD bytes = 0;
    if (!ConnectNamedPipe(pipe, NULL) && GetLastError() != ERROR_PIPE_CONNECTED)
        return GetLastError();
    while (ReadFile(pipe, in, 32, &bytes, NULL)) {
        memcpy(in + bytes, in, bytes);
        if (!WriteFile(pipe, in, 2 * bytes, &bytes, NULL))
            break;
    }
    FlushFileBuffers(pipe);
    DisconnectNamedPipe(pipe);
    return 0;
}

static void n08_transactions(void)
{
    HANDLE a, b, thread;
    char in[16];
    DWORD bytes = 0, mode = PIPE_READMODE_MESSAGE;
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX, MESSAGES, 1);
    thread = CreateThread(NULL, 0, answer, a, 0, NULL);
    CHECK(WaitNamedPipeA(path, NMPWAIT_WAIT_FOREVER));
    b = client(GENERIC_READ | GENERIC_WRITE, 0);
    FAILS(!TransactNamedPipe(b, (LPVOID) "abc", 3, in, 16, &bytes, NULL), ERROR_BAD_PIPE);
    CHECK(SetNamedPipeHandleState(b, &mode, NULL, NULL));
    CHECK(TransactNamedPipe(b, (LPVOID) "abc", 3, in, 16, &bytes, NULL));
    CHECK(bytes == 6 && memcmp(in, "abcabc", 6) == 0);
    FAILS(!TransactNamedPipe(b, (LPVOID) "abc", 3, in, 4, &bytes, NULL), ERROR_MORE_DATA);
    EQUAL(bytes, 4);
    FAILS(!TransactNamedPipe(b, (LPVOID) "abc", 3, in, 4, &bytes, NULL), ERROR_PIPE_BUSY);
    CHECK(ReadFile(b, in, 16, &bytes, NULL));
    EQUAL(bytes, 2);
    CloseHandle(b);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CloseHandle(thread);
    thread = CreateThread(NULL, 0, answer, a, 0, NULL);
    bytes = 0;
    CHECK(CallNamedPipeA(path, (LPVOID) "hello", 5, in, 16, &bytes, 5000));
    CHECK(bytes == 10 && memcmp(in, "hellohello", 10) == 0);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CloseHandle(thread);
    CloseHandle(a);
    FAILS(!CallNamedPipeA(path, (LPVOID) "hello", 5, in, 16, &bytes, 100), ERROR_FILE_NOT_FOUND);
}

static DWORD WINAPI read_all(LPVOID of)
{
    HANDLE pipe = (HANDLE)of;
    char in[10000];
    DWORD bytes = 0, sum = 0, at;
    while (ReadFile(pipe, in, sizeof in, &bytes, NULL) || GetLastError() == ERROR_MORE_DATA)
        for (at = 0; at < bytes; at++)
            sum = sum * 31 + (unsigned char)in[at];
    return GetLastError() == ERROR_BROKEN_PIPE ? sum : 0;
}

static void n09_a_write_waits_until_all_is_taken(void)
{
    enum { SIZE = 3000000 };
    char *data = (char *)malloc(SIZE);
    DWORD modes[] = {PIPE_TYPE_BYTE, MESSAGES}, sum = 0, bytes = 0, code = 0, at;
    int round;
    for (at = 0; at < SIZE; at++) {
        data[at] = (char)(at * 7 + at / 251);
        sum = sum * 31 + (unsigned char)data[at];
    }
    for (round = 0; round < 2; round++) {
        HANDLE a, b, thread;
        connected(modes[round], 0, &a, &b);
        thread = CreateThread(NULL, 0, read_all, a, 0, NULL);
        CHECK(WriteFile(b, data, SIZE, &bytes, NULL));
        EQUAL(bytes, SIZE);
        CHECK(FlushFileBuffers(b));
        CloseHandle(b);
        EQUAL(WaitForSingleObject(thread, 20000), WAIT_OBJECT_0);
        CHECK(GetExitCodeThread(thread, &code));
        EQUAL(code, sum);
        CloseHandle(thread);
        CloseHandle(a);
    }
    free(data);
}

static void n10_what_is_cancelled_loses_nothing(void)
{
    HANDLE a, b;
    OVERLAPPED read = with_event(), write = with_event();
    enum { SIZE = 1000000 };
    char *out = (char *)malloc(SIZE), *in = (char *)malloc(SIZE);
    DWORD bytes = 0, left = 0;
    BOOL called;
    memset(out, 'x', SIZE);
    connected(MESSAGES, FILE_FLAG_OVERLAPPED, &a, &b);
    /* a read that has part of a message */
    called = WriteFile(b, out, SIZE, NULL, &write);
    if (called)
        SetLastError(0); /* buffers are large there */
    FAILS(!ReadFile(b, in, 1, NULL, &read), ERROR_IO_PENDING);
    CHECK(CancelIoEx(b, &read));
    FAILS(!GetOverlappedResult(b, &read, &bytes, TRUE), ERROR_OPERATION_ABORTED);
    FAILS(!CancelIoEx(b, &read), ERROR_NOT_FOUND);
    called = ReadFile(a, in, SIZE, NULL, &read);
    CHECK(finish(a, called, &read, &bytes));
    EQUAL(bytes, SIZE);
    CHECK(memcmp(in, out, SIZE) == 0);
    CHECK(GetOverlappedResult(b, &write, &bytes, TRUE));
    EQUAL(bytes, SIZE);
    CHECK(PeekNamedPipe(a, NULL, 0, NULL, &left, NULL));
    EQUAL(left, 0);
    free(in);
    free(out);
    CloseHandle(read.hEvent);
    CloseHandle(write.hEvent);
    CloseHandle(a);
    CloseHandle(b);
}

static void n11_several_instances(void)
{
    HANDLE ends[4], clients[4];
    DWORD bytes = 0, instances = 0, most = 0, flags = 0;
    int at;
    char in[2];
    fresh_name();
    for (at = 0; at < 4; at++) {
        ends[at] = server(PIPE_ACCESS_DUPLEX, MESSAGES, 4);
        CHECK(ends[at] != INVALID_HANDLE_VALUE);
    }
    FAILS(server(PIPE_ACCESS_DUPLEX, MESSAGES, 4) == INVALID_HANDLE_VALUE, ERROR_PIPE_BUSY);
    for (at = 0; at < 4; at++) {
        clients[at] = client(GENERIC_READ | GENERIC_WRITE, 0);
        CHECK(clients[at] != INVALID_HANDLE_VALUE);
    }
    FAILS(client(GENERIC_READ | GENERIC_WRITE, 0) == INVALID_HANDLE_VALUE, ERROR_PIPE_BUSY);
    CHECK(GetNamedPipeHandleStateA(ends[0], NULL, &instances, NULL, NULL, NULL, 0));
    EQUAL(instances, 4);
    CHECK(GetNamedPipeInfo(clients[0], &flags, NULL, NULL, &most));
    EQUAL(most, 4);
    EQUAL(flags, PIPE_CLIENT_END | PIPE_TYPE_MESSAGE);
    CHECK(GetNamedPipeInfo(ends[0], &flags, NULL, NULL, NULL));
    EQUAL(flags, PIPE_SERVER_END | PIPE_TYPE_MESSAGE);
    for (at = 0; at < 4; at++)
        CHECK(WriteFile(clients[at], "ab", 2, &bytes, NULL));
    for (at = 0; at < 4; at++) {
        CHECK(ReadFile(ends[at], in, 2, &bytes, NULL) && bytes == 2);
        CloseHandle(ends[at]);
        CloseHandle(clients[at]);
    }
}

static void n12_an_end_that_does_not_wait(void)
{
    HANDLE a, b;
    DWORD bytes = 77, mode = PIPE_READMODE_BYTE | PIPE_NOWAIT;
    char in[4];
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE | PIPE_NOWAIT, 1);
    FAILS(!ConnectNamedPipe(a, NULL), ERROR_PIPE_LISTENING);
    b = client(GENERIC_READ | GENERIC_WRITE, 0);
    FAILS(!ConnectNamedPipe(a, NULL), ERROR_PIPE_CONNECTED);
    FAILS(!ReadFile(a, in, 4, &bytes, NULL), ERROR_NO_DATA);
    CHECK(SetNamedPipeHandleState(b, &mode, NULL, NULL));
    FAILS(!ReadFile(b, in, 4, &bytes, NULL), ERROR_NO_DATA);
    CHECK(WriteFile(b, "abcd", 4, &bytes, NULL));
    CHECK(ReadFile(a, in, 4, &bytes, NULL) && bytes == 4);
    CloseHandle(a);
    CloseHandle(b);
}

static void n13_anonymous_pipes(void)
{
    HANDLE read, write, thread;
    DWORD bytes = 0, sum = 0, available = 0;
    char in[8];
    CHECK(CreatePipe(&read, &write, NULL, 0));
    CHECK(WriteFile(write, "abc", 3, &bytes, NULL) && bytes == 3);
    CHECK(PeekNamedPipe(read, NULL, 0, NULL, &available, NULL));
    EQUAL(available, 3);
    CHECK(ReadFile(read, in, 8, &bytes, NULL) && bytes == 3);
    FAILS(!WriteFile(read, "abc", 3, &bytes, NULL), ERROR_ACCESS_DENIED);
    FAILS(!ReadFile(write, in, 3, &bytes, NULL), ERROR_ACCESS_DENIED);
    thread = CreateThread(NULL, 0, read_all, read, 0, NULL);
    CHECK(WriteFile(write, "z", 1, &bytes, NULL));
    CloseHandle(write);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &sum));
    EQUAL(sum, 'z');
    CloseHandle(thread);
    CloseHandle(read);
    CHECK(CreatePipe(&read, &write, NULL, 0));
    CloseHandle(read);
    FAILS(!WriteFile(write, "abc", 3, &bytes, NULL), ERROR_NO_DATA);
    CloseHandle(write);
}

static DWORD WINAPI start_read_and_leave(LPVOID of)
{
    static OVERLAPPED overlapped;
    static char in[4];
    memset(&overlapped, 0, sizeof overlapped);
    overlapped.hEvent = (HANDLE)((void **)of)[1];
    return !ReadFile(((HANDLE *)of)[0], in, 4, NULL, &overlapped) && GetLastError() == ERROR_IO_PENDING ? (((void **)of)[2] = &overlapped, 1) : 0;
}

static void n14_a_threads_exit_cancels_what_it_has_started(void)
{
    HANDLE a, b, thread;
    void *given[3];
    DWORD bytes = 0;
    connected(MESSAGES, FILE_FLAG_OVERLAPPED, &a, &b);
    given[0] = a;
    given[1] = CreateEventA(NULL, TRUE, FALSE, NULL);
    thread = CreateThread(NULL, 0, start_read_and_leave, given, 0, NULL);
    EQUAL(WaitForSingleObject(thread, 5000), WAIT_OBJECT_0);
    EQUAL(WaitForSingleObject((HANDLE)given[1], 5000), WAIT_OBJECT_0);
    FAILS(!GetOverlappedResult(a, (OVERLAPPED *)given[2], &bytes, FALSE), ERROR_OPERATION_ABORTED);
    CloseHandle(thread);
    CloseHandle((HANDLE)given[1]);
    CloseHandle(a);
    CloseHandle(b);
}

static DWORD WINAPI run_the_other(LPVOID command)
{
    return (DWORD)system((const char *)command);
}

static void n15_two_processes(void)
{
    HANDLE a, thread;
    char command[1200], in[64];
    DWORD bytes = 0, id = 0, code = 77;
    int round;
    fresh_name();
    a = server(PIPE_ACCESS_DUPLEX, MESSAGES, 1);
#ifdef __linux__
    sprintf(command, "'%s' client '%s'", self, path);
#else
    sprintf(command, "\"\"%s\" client %s\"", self, path);
#endif
    thread = CreateThread(NULL, 0, run_the_other, command, 0, NULL);
    CHECK(ConnectNamedPipe(a, NULL) || GetLastError() == ERROR_PIPE_CONNECTED);
    CHECK(GetNamedPipeClientProcessId(a, &id));
    CHECK(id != 0 && id != GetCurrentProcessId());
    for (round = 0; round < 100; round++) {
        CHECK(ReadFile(a, in, 32, &bytes, NULL));
        EQUAL(bytes, 5);
        memcpy(in + 5, in, 5);
        CHECK(WriteFile(a, in, 10, &bytes, NULL));
    }
    CHECK(WriteFile(a, "unread", 6, &bytes, NULL));
    CHECK(ReadFile(a, in, 32, &bytes, NULL)); /* the client is about to look */
    CHECK(DisconnectNamedPipe(a));
    EQUAL(WaitForSingleObject(thread, 20000), WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(thread, &code));
    EQUAL(code, 0);
    CloseHandle(thread);
    CloseHandle(a);
}

/* The other process of n15. */
static int other(const char *name)
{
    char in[16];
    DWORD bytes = 0, mode = PIPE_READMODE_MESSAGE;
    int round;
    HANDLE pipe;
    if (!WaitNamedPipeA(name, 5000))
        return 2;
    pipe = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE || !SetNamedPipeHandleState(pipe, &mode, NULL, NULL))
        return 3;
    for (round = 0; round < 100; round++)
        if (!TransactNamedPipe(pipe, (LPVOID) "hello", 5, in, 16, &bytes, NULL) || bytes != 10)
            return 4;
    if (!WriteFile(pipe, "bye", 3, &bytes, NULL))
        return 5;
    Sleep(300);
    /* what the server had written before it disconnected is lost */
    return !ReadFile(pipe, in, 16, &bytes, NULL) && GetLastError() == ERROR_PIPE_NOT_CONNECTED ? 0 : 6;
}

int main(int argc, char **argv)
{
    use_all();
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return other(argv[2]);
    strcpy(self, argv[0]);
    start_winsock();
    RUN(n01_what_is_refused);
    RUN(n02_bytes_come_as_a_stream_until_the_other_end_is_closed);
    RUN(n03_messages_keep_their_bounds);
    RUN(n03_who_reads_bytes_sees_no_bounds);
    RUN(n04_a_server_waits_for_clients_overlapped);
    RUN(n04_a_server_waits_for_a_client_in_a_plain_call);
    RUN(n05_a_read_waits_and_ends_with_its_message);
    RUN(n06_a_port_hears_of_a_pipe);
    RUN(n07_routines_hear_of_a_pipe);
    RUN(n08_transactions);
    RUN(n09_a_write_waits_until_all_is_taken);
    RUN(n10_what_is_cancelled_loses_nothing);
    RUN(n11_several_instances);
    RUN(n12_an_end_that_does_not_wait);
    RUN(n13_anonymous_pipes);
    RUN(n14_a_threads_exit_cancels_what_it_has_started);
    RUN(n15_two_processes);
    return summary();
}
