/* What every test program is made of: named tests, checks that say where they failed, a summary, an exit code.
 *
 * A test is a function whose name begins with the id of the statement that it shows. One that cannot be done somewhere says SKIP with the
 * reason, which is counted and never looks like a pass. The same source runs on Linux with this library and on Windows' own headers. */
#ifndef CHECK_H
#define CHECK_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tests_run, tests_failed, tests_skipped;
static int failed_here, skipped_here;

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            printf("    %s:%d: not so: %s (last error %lu)\n", __FILE__, __LINE__, #condition,                        \
                   (unsigned long)GetLastError());                                                                    \
            failed_here = 1;                                                                                          \
        }                                                                                                             \
    } while (0)

/* The two are equal, as numbers; the left one is evaluated first, and the last error is that of it. */
#define EQUAL(left, right)                                                                                            \
    do {                                                                                                              \
        long long left_ = (long long)(left), right_ = (long long)(right);                                             \
        if (left_ != right_) {                                                                                        \
            printf("    %s:%d: %s is %lld (%#llx), not %s, %lld (last error %lu)\n", __FILE__, __LINE__, #left, left_, \
                   (unsigned long long)left_, #right, right_, (unsigned long)GetLastError());                         \
            failed_here = 1;                                                                                          \
        }                                                                                                             \
    } while (0)

/* A call fails, and with this code. */
#define FAILS(call, code)                                                                                             \
    do {                                                                                                              \
        SetLastError(0xDEAD);                                                                                         \
        CHECK(call);                                                                                                  \
        EQUAL(GetLastError(), code);                                                                                  \
    } while (0)

#define SKIP(why)                                                                                                     \
    do {                                                                                                              \
        printf("    skipped: %s\n", why);                                                                             \
        skipped_here = 1;                                                                                             \
        return;                                                                                                       \
    } while (0)

/* Where Wine does something else than Windows, a test says so and asserts that instead, so that it is noticed when Wine changes. It is counted. */
#define WINE_DIFFERS(why) (under_wine() && printf("WINE DIFFERS: %s: %s\n", __func__, why))

#define RUN(test)                                                                                                     \
    do {                                                                                                              \
        failed_here = skipped_here = 0;                                                                               \
        test();                                                                                                       \
        tests_run++;                                                                                                  \
        tests_failed += failed_here;                                                                                  \
        tests_skipped += !failed_here && skipped_here;                                                                \
        printf("%s %s\n", failed_here ? "FAILED " : skipped_here ? "skipped" : "ok     ", #test);                     \
        fflush(stdout);                                                                                               \
    } while (0)

static int summary(void)
{
    printf("%d passed, %d failed, %d skipped\n", tests_run - tests_failed - tests_skipped, tests_failed, tests_skipped);
    fflush(stdout);
    return tests_failed != 0;
}

/* Whether what calls itself Windows is Wine. */
static int under_wine(void)
{
#ifdef OVL_WINDOWS_H
    return 0;
#else
    return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL;
#endif
}

static void start_winsock(void)
{
    WSADATA data;
    if (WSAStartup(MAKEWORD(2, 2), &data) != 0) {
        printf("WSAStartup failed\n");
        exit(1);
    }
}

/* A listener on this machine, at a port of the system's choice. */
static SOCKET listener_at(struct sockaddr_in *address)
{
    SOCKET s = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    int len = sizeof *address;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (s == INVALID_SOCKET || bind(s, (struct sockaddr *)address, sizeof *address) != 0 || listen(s, 16) != 0 ||
        getsockname(s, (struct sockaddr *)address, &len) != 0) {
        printf("no listener: %d\n", WSAGetLastError());
        exit(1);
    }
    return s;
}

/* Two sockets that are connected with each other: `a` has connected, `b` was accepted. */
static void connected_pair(SOCKET *a, SOCKET *b)
{
    struct sockaddr_in address;
    SOCKET listener = listener_at(&address);
    *a = WSASocketA(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (connect(*a, (struct sockaddr *)&address, sizeof address) != 0) {
        printf("no connection: %d\n", WSAGetLastError());
        exit(1);
    }
    *b = accept(listener, NULL, NULL);
    if (*b == INVALID_SOCKET) {
        printf("no connection accepted: %d\n", WSAGetLastError());
        exit(1);
    }
    closesocket(listener);
}

/* Starts an overlapped receive; returns 0 if it was accepted, and its error otherwise. */
static int start_recv(SOCKET s, void *to, unsigned long len, OVERLAPPED *overlapped)
{
    WSABUF buffer;
    DWORD flags = 0;
    buffer.buf = (char *)to;
    buffer.len = len;
    if (WSARecv(s, &buffer, 1, NULL, &flags, overlapped, NULL) == 0 || WSAGetLastError() == WSA_IO_PENDING)
        return 0;
    return WSAGetLastError();
}

static int start_send(SOCKET s, const void *from, unsigned long len, OVERLAPPED *overlapped)
{
    WSABUF buffer;
    buffer.buf = (char *)from;
    buffer.len = len;
    if (WSASend(s, &buffer, 1, NULL, 0, overlapped, NULL) == 0 || WSAGetLastError() == WSA_IO_PENDING)
        return 0;
    return WSAGetLastError();
}

/* Receives exactly so many bytes. */
static int recv_all(SOCKET s, void *to, int len)
{
    int got = 0;
    while (got < len) {
        int now = recv(s, (char *)to + got, len - got, 0);
        if (now <= 0)
            return got;
        got += now;
    }
    return got;
}

static void *extension(SOCKET s, GUID guid)
{
    void *function = NULL;
    DWORD bytes = 0;
    WSAIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof guid, &function, sizeof function, &bytes, NULL, NULL);
    return function;
}

/* Not every program uses every function of this file. */
static void use_all(void)
{
    (void)start_winsock, (void)listener_at, (void)connected_pair, (void)start_recv, (void)start_send;
    (void)recv_all, (void)extension, (void)summary, (void)under_wine, (void)use_all;
}

#endif
