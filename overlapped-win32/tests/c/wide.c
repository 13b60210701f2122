/* W: functions that take wide text. A character has 16 bits on Windows and 32 here, and these are the same for both. */
#include "check.h"
#define STRSAFE_NO_DEPRECATE
#include <strsafe.h>
#include <stddef.h>

/* Windows' way to say that text is wide, whatever its characters are. */
static int same(const WCHAR *a, const WCHAR *b) { return wcscmp(a, b) == 0; }

static void wide_names_of_hosts(void)
{
    ADDRINFOW hints, *found = NULL, *at;
    WCHAR host[64], service[16];
    int count = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_CANONNAME;
    EQUAL(GetAddrInfoW(L"127.0.0.1", L"8080", &hints, &found), 0);
    for (at = found; at; at = at->ai_next, count++) {
        struct sockaddr_in *address = (struct sockaddr_in *)at->ai_addr;
        EQUAL(at->ai_family, AF_INET);
        EQUAL(at->ai_addrlen, sizeof *address);
        EQUAL(address->sin_port, htons(8080));
        EQUAL(address->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    }
    EQUAL(count, 1);
    CHECK(found && found->ai_canonname && same(found->ai_canonname, L"127.0.0.1"));
    if (found) {
        EQUAL(GetNameInfoW(found->ai_addr, (int)found->ai_addrlen, host, 64, service, 16, NI_NUMERICHOST | NI_NUMERICSERV), 0);
        CHECK(same(host, L"127.0.0.1"));
        CHECK(same(service, L"8080"));
        CHECK(GetNameInfoW(found->ai_addr, (int)found->ai_addrlen, host, 4, NULL, 0, NI_NUMERICHOST) != 0);
        EQUAL(GetNameInfoW(found->ai_addr, (int)found->ai_addrlen, NULL, 0, service, 16, NI_NUMERICHOST | NI_NUMERICSERV), 0);
    }
    FreeAddrInfoW(found);
    found = NULL;
    EQUAL(GetAddrInfoW(L"no address", NULL, &hints, &found), WSAHOST_NOT_FOUND);
    CHECK(found == NULL);
}

static void wide_a_duplicate_of_a_socket(void)
{
    WSAPROTOCOL_INFOW info;
    SOCKET a, b, again;
    char byte = 0;
    connected_pair(&a, &b);
    EQUAL(WSADuplicateSocketW(a, GetCurrentProcessId(), &info), 0);
    EQUAL(info.iAddressFamily, AF_INET);
    EQUAL(info.iSocketType, SOCK_STREAM);
    again = WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0, WSA_FLAG_OVERLAPPED);
    CHECK(again != INVALID_SOCKET);
    EQUAL(closesocket(a), 0);
    EQUAL(send(again, "x", 1, 0), 1);
    EQUAL(recv(b, &byte, 1, 0), 1);
    EQUAL(byte, 'x');
    closesocket(again);
    closesocket(b);
    a = WSASocketW(AF_INET, SOCK_DGRAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
    CHECK(a != INVALID_SOCKET);
    closesocket(a);
}

static void wide_directories_and_files(void)
{
    WCHAR before[600], now[600], small[2];
    HANDLE file;
    DWORD length = GetCurrentDirectoryW(600, before);
    CHECK(length > 0 && length == wcslen(before));
    EQUAL(GetCurrentDirectoryW(2, small), length + 1);
    RemoveDirectoryW(L"wide-\u00e9");
    CHECK(CreateDirectoryW(L"wide-\u00e9", NULL));
    FAILS(!CreateDirectoryW(L"wide-\u00e9", NULL), ERROR_ALREADY_EXISTS);
    CHECK(SetCurrentDirectoryW(L"wide-\u00e9"));
    CHECK(GetCurrentDirectoryW(600, now) == length + 7 && same(now + length + 1, L"wide-\u00e9"));
    file = CreateFileW(L"a.txt", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
    CloseHandle(file);
    CHECK(CopyFileW(L"a.txt", L"b.txt", TRUE));
    FAILS(!CopyFileW(L"a.txt", L"b.txt", TRUE), ERROR_FILE_EXISTS);
    CHECK(MoveFileW(L"b.txt", L"c.txt"));
    FAILS(!MoveFileW(L"b.txt", L"d.txt"), ERROR_FILE_NOT_FOUND);
    CHECK(GetFileAttributesW(L"c.txt") != INVALID_FILE_ATTRIBUTES);
    CHECK(DeleteFileW(L"a.txt") && DeleteFileW(L"c.txt"));
    CHECK(SetCurrentDirectoryW(before));
    CHECK(RemoveDirectoryW(L"wide-\u00e9"));
    FAILS(!SetCurrentDirectoryW(L"wide-\u00e9"), ERROR_FILE_NOT_FOUND);
}

static void wide_the_environment(void)
{
    WCHAR value[16], path[600], name[64];
    char narrow[16];
    DWORD size = 64;
    CHECK(SetEnvironmentVariableW(L"OVL_WIDE", L"four"));
    EQUAL(GetEnvironmentVariableW(L"OVL_WIDE", value, 16), 4);
    CHECK(same(value, L"four"));
    EQUAL(GetEnvironmentVariableW(L"OVL_WIDE", value, 4), 5);
    EQUAL(GetEnvironmentVariableA("OVL_WIDE", narrow, 16), 4);
    CHECK(SetEnvironmentVariableW(L"OVL_WIDE", NULL));
    FAILS(GetEnvironmentVariableW(L"OVL_WIDE", value, 16) == 0, ERROR_ENVVAR_NOT_FOUND);
    size = GetModuleFileNameW(NULL, path, 600);
    CHECK(size > 0 && size == wcslen(path));
    EQUAL(GetModuleFileNameW(NULL, value, 5), 5);
    EQUAL(GetLastError(), ERROR_INSUFFICIENT_BUFFER);
    EQUAL(value[4], WINE_DIFFERS("a path that is cut has no end") ? path[4] : 0);
    CHECK(GetModuleHandleW(NULL) == GetModuleHandleA(NULL));
    CHECK(wcslen(GetCommandLineW()) > 0);
    size = 64;
    CHECK(GetComputerNameW(name, &size));
    EQUAL(size, wcslen(name));
    size = 1;
    FAILS(!GetComputerNameW(name, &size), ERROR_BUFFER_OVERFLOW);
}

static void wide_named_objects(void)
{
    HANDLE made = CreateEventW(NULL, TRUE, FALSE, L"ovl-wide-event"), opened = OpenEventW(EVENT_ALL_ACCESS, FALSE, L"ovl-wide-event");
    CHECK(made && opened);
    CHECK(SetEvent(opened));
    EQUAL(WaitForSingleObject(made, 0), WAIT_OBJECT_0);
    CloseHandle(made);
    CloseHandle(opened);
    FAILS(OpenEventW(EVENT_ALL_ACCESS, FALSE, L"ovl-wide-event") == NULL, ERROR_FILE_NOT_FOUND);
    FAILS(OpenMutexW(MUTEX_ALL_ACCESS, FALSE, L"ovl-wide-mutex") == NULL, ERROR_FILE_NOT_FOUND);
    FAILS(OpenSemaphoreW(SEMAPHORE_ALL_ACCESS, FALSE, L"ovl-wide-semaphore") == NULL, ERROR_FILE_NOT_FOUND);
}

static void wide_text(void)
{
    WCHAR text[8];
    size_t length;
    CHECK(lstrcpyW(text, L"abc") == text && lstrlenW(text) == 3);
    CHECK(lstrcmpiW(text, L"ABC") == 0 && lstrcmpW(text, L"abd") < 0);
    CHECK(lstrcatW(text, L"de") == text && same(text, L"abcde"));
    CHECK(lstrcpynW(text, L"wxyz", 3) == text && same(text, L"wx"));
    EQUAL(StringCchCopyW(text, 8, L"12345678"), STRSAFE_E_INSUFFICIENT_BUFFER);
    CHECK(same(text, L"1234567"));
    EQUAL(StringCchCopyNW(text, 8, L"12345678", 3), S_OK);
    EQUAL(StringCchCatNW(text, 8, L"abcdefgh", 2), S_OK);
    CHECK(same(text, L"123ab"));
    EQUAL(StringCchCatW(text, 8, L"xyz"), STRSAFE_E_INSUFFICIENT_BUFFER);
    CHECK(same(text, L"123abxy"));
    EQUAL(StringCchPrintfW(text, 8, L"%d-%s", 42, L"ab"), S_OK);
    CHECK(same(text, L"42-ab"));
    EQUAL(StringCchLengthW(text, 8, &length), S_OK);
    EQUAL(length, 5);
    EQUAL(StringCchCatNA((char *)text, 0, "a", 1), STRSAFE_E_INVALID_PARAMETER);
}

int main(void)
{
    start_winsock();
    RUN(wide_names_of_hosts);
    RUN(wide_a_duplicate_of_a_socket);
    RUN(wide_directories_and_files);
    RUN(wide_the_environment);
    RUN(wide_named_objects);
    RUN(wide_text);
    use_all();
    return summary();
}
