/* What Microsoft's C run-time library has and others have not, and what it does differently. */
#ifndef OVL_CRT_H
#define OVL_CRT_H

/* The C library's own checks would pass these functions by. */
#ifdef _FORTIFY_SOURCE
#undef _FORTIFY_SOURCE
#endif
#ifdef __cplusplus
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#endif
#include "base.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>

typedef int errno_t;
typedef size_t rsize_t;
__extension__ typedef long long __time64_t;
#define _TRUNCATE ((size_t)-1)
#define _MAX_PATH 260
#define _MAX_FNAME 256
#define _MAX_EXT 256
#define _MAX_DIR 256
#define _MAX_DRIVE 3
#ifndef _I64_MAX
#define _I64_MAX 9223372036854775807LL
#define _UI64_MAX 0xffffffffffffffffULL
#endif
#define STRUNCATE 80

#ifdef __cplusplus
extern "C++" {
template <class T, size_t N> char (&ovl_count_of(T (&)[N]))[N];
}
#define _countof(array) (sizeof(::ovl_count_of(array)))
#else
#define _countof(array) (sizeof(array) / sizeof((array)[0]))
#endif
#define ARRAYSIZE(array) _countof(array)
#define RTL_NUMBER_OF(array) _countof(array)

OVL_BEGIN

/* Formats are Microsoft's: `l` is 32 bits, `I64` 64, `I` a pointer's size; `%S` is text of the other width. */
extern __typeof__(printf) printf __asm__("ovl_printf");
extern __typeof__(fprintf) fprintf __asm__("ovl_fprintf");
extern __typeof__(sprintf) sprintf __asm__("ovl_sprintf");
extern __typeof__(snprintf) snprintf __asm__("ovl_snprintf");
extern __typeof__(vprintf) vprintf __asm__("ovl_vprintf");
extern __typeof__(vfprintf) vfprintf __asm__("ovl_vfprintf");
extern __typeof__(vsprintf) vsprintf __asm__("ovl_vsprintf");
extern __typeof__(vsnprintf) vsnprintf __asm__("ovl_vsnprintf");
extern __typeof__(wprintf) wprintf __asm__("ovl_wprintf");
extern __typeof__(fwprintf) fwprintf __asm__("ovl_fwprintf");
extern __typeof__(swprintf) swprintf __asm__("ovl_swprintf");
extern __typeof__(vwprintf) vwprintf __asm__("ovl_vwprintf");
extern __typeof__(vswprintf) vswprintf __asm__("ovl_vswprintf");
/* Standard output takes narrow and wide text in turn, as Microsoft's does. */
extern __typeof__(fgetws) fgetws __asm__("ovl_fgetws");
extern __typeof__(fputws) fputws __asm__("ovl_fputws");
extern __typeof__(getwchar) getwchar __asm__("ovl_getwchar");
extern __typeof__(putwchar) putwchar __asm__("ovl_putwchar");
OVL_FN(int, _putws, (const wchar_t *text));
extern __typeof__(system) system __asm__("ovl_system");
extern int ovl_scanf(const char *format, ...);
extern int ovl_sscanf(const char *buffer, const char *format, ...);
extern int ovl_fscanf(FILE *stream, const char *format, ...);

OVL_FN(int, printf_s, (const char *format, ...));
OVL_FN(int, fprintf_s, (FILE *stream, const char *format, ...));
OVL_FN(int, sprintf_s, (char *buffer, size_t size, const char *format, ...));
OVL_FN(int, vsprintf_s, (char *buffer, size_t size, const char *format, va_list arguments));
OVL_FN(int, _snprintf, (char *buffer, size_t count, const char *format, ...));
OVL_FN(int, _vsnprintf, (char *buffer, size_t count, const char *format, va_list arguments));
OVL_FN(int, _snprintf_s, (char *buffer, size_t size, size_t count, const char *format, ...));
OVL_FN(int, _vsnprintf_s, (char *buffer, size_t size, size_t count, const char *format, va_list arguments));
OVL_FN(int, _scprintf, (const char *format, ...));
OVL_FN(int, wprintf_s, (const wchar_t *format, ...));
OVL_FN(int, swprintf_s, (wchar_t *buffer, size_t size, const wchar_t *format, ...));
OVL_FN(int, _snwprintf, (wchar_t *buffer, size_t count, const wchar_t *format, ...));
OVL_FN(int, wsprintfA, (LPSTR buffer, LPCSTR format, ...));
OVL_FN(int, wsprintfW, (LPWSTR buffer, LPCWSTR format, ...));
OVL_FN(int, _cprintf, (const char *format, ...));
OVL_FN(int, scanf_s, (const char *format, ...));
OVL_FN(int, sscanf_s, (const char *buffer, const char *format, ...));
OVL_FN(int, fscanf_s, (FILE *stream, const char *format, ...));
OVL_FN(char *, gets_s, (char *buffer, size_t size));
OVL_FN(errno_t, fopen_s, (FILE **stream, const char *name, const char *mode));
OVL_FN(errno_t, _wfopen_s, (FILE **stream, const wchar_t *name, const wchar_t *mode));
OVL_FN(FILE *, _wfopen, (const wchar_t *name, const wchar_t *mode));
OVL_FN(FILE *, _fsopen, (const char *name, const char *mode, int share));
OVL_FN(int, _flushall, (void));

OVL_FN(errno_t, strcpy_s, (char *to, size_t size, const char *from));
OVL_FN(errno_t, strncpy_s, (char *to, size_t size, const char *from, size_t count));
OVL_FN(errno_t, strcat_s, (char *to, size_t size, const char *from));
OVL_FN(errno_t, strncat_s, (char *to, size_t size, const char *from, size_t count));
OVL_FN(errno_t, wcscpy_s, (wchar_t *to, size_t size, const wchar_t *from));
OVL_FN(errno_t, wcsncpy_s, (wchar_t *to, size_t size, const wchar_t *from, size_t count));
OVL_FN(errno_t, wcscat_s, (wchar_t *to, size_t size, const wchar_t *from));
OVL_FN(errno_t, memcpy_s, (void *to, size_t size, const void *from, size_t count));
OVL_FN(errno_t, memmove_s, (void *to, size_t size, const void *from, size_t count));
OVL_FN(errno_t, strerror_s, (char *buffer, size_t size, int number));
OVL_FN(size_t, strnlen_s, (const char *text, size_t size));
OVL_FN(char *, strtok_s, (char *text, const char *delimiters, char **context));
OVL_FN(char *, _strlwr, (char *text));
OVL_FN(char *, _strupr, (char *text));
OVL_FN(char *, _strrev, (char *text));
OVL_FN(char *, _itoa, (int value, char *buffer, int radix));
OVL_FN(char *, _ltoa, (LONG value, char *buffer, int radix));
OVL_FN(char *, _ultoa, (ULONG value, char *buffer, int radix));
OVL_FN(char *, _i64toa, (LONGLONG value, char *buffer, int radix));
OVL_FN(char *, _ui64toa, (ULONGLONG value, char *buffer, int radix));
OVL_FN(errno_t, _itoa_s, (int value, char *buffer, size_t size, int radix));
OVL_FN(wchar_t *, _itow, (int value, wchar_t *buffer, int radix));
OVL_FN(errno_t, _itow_s, (int value, wchar_t *buffer, size_t size, int radix));
OVL_FN(LONGLONG, _atoi64, (const char *text));
#define _strcmpi _stricmp
#define stricmp _stricmp
#define strcmpi _stricmp
#define strnicmp _strnicmp
#define strlwr _strlwr
#define strupr _strupr
#define strrev _strrev
#define itoa _itoa
#define ltoa _ltoa
#define ultoa _ultoa
#define _strtoi64 strtoll
#define _strtoui64 strtoull
static __inline__ __attribute__((unused)) int _stricmp(const char *a, const char *b) { return strcasecmp(a, b); }
static __inline__ __attribute__((unused)) int _strnicmp(const char *a, const char *b, size_t n) { return strncasecmp(a, b, n); }
static __inline__ __attribute__((unused)) int _memicmp(const void *a, const void *b, size_t n)
{
    return strncasecmp((const char *)a, (const char *)b, n);
}
extern char *ovl_strdup(const char *text) __asm__("strdup");
#define _strdup ovl_strdup
OVL_FN(int, _wcsicmp, (const wchar_t *a, const wchar_t *b));
OVL_FN(int, _wcsnicmp, (const wchar_t *a, const wchar_t *b, size_t n));
extern wchar_t *ovl_wcsdup(const wchar_t *text) __asm__("wcsdup");
#define _wcsdup ovl_wcsdup
OVL_FN(int, _wtoi, (const wchar_t *text));

OVL_FN(errno_t, localtime_s, (struct tm *result, const time_t *time));
OVL_FN(errno_t, gmtime_s, (struct tm *result, const time_t *time));
OVL_FN(errno_t, ctime_s, (char *buffer, size_t size, const time_t *time));
OVL_FN(errno_t, asctime_s, (char *buffer, size_t size, const struct tm *time));
OVL_FN(errno_t, rand_s, (unsigned int *value));
OVL_FN(errno_t, getenv_s, (size_t * length, char *buffer, size_t size, const char *name));
OVL_FN(errno_t, _dupenv_s, (char **buffer, size_t *length, const char *name));
OVL_FN(int, _putenv, (const char *assignment));
OVL_FN(void, _sleep, (unsigned int milliseconds));
#define _time64(t) ((__time64_t)time(t))

/* conio.h */
OVL_FN(int, _getch, (void));
OVL_FN(int, _getche, (void));
OVL_FN(int, _kbhit, (void));
OVL_FN(int, _putch, (int character));
OVL_FN(int, _cputs, (const char *text));
#define getch _getch
#define getche _getche
#define kbhit _kbhit
#define putch _putch
#define cputs _cputs

/* process.h */
OVL_FN(uintptr_t, _beginthreadex,
       (void *security, unsigned int stack_size, unsigned int(WINAPI *start)(void *), void *argument, unsigned int flags,
        unsigned int *id));
OVL_FN(uintptr_t, _beginthread, (void (*start)(void *), unsigned int stack_size, void *argument));
OVL_FN(void, _endthreadex, (unsigned int code)) __attribute__((noreturn));
OVL_FN(void, _endthread, (void)) __attribute__((noreturn));

/* io.h, direct.h: these are the C library's under other names. */
#define _access access
#define _chdir chdir
#define _close close
#define _dup dup
#define _dup2 dup2
#define _fileno fileno
#define _getcwd getcwd
#define _getpid getpid
#define _isatty isatty
#define _mkdir(path) mkdir((path), 0777)
#define _open open
#define _read read
#define _rmdir rmdir
#define _unlink unlink
#define _write write
#define _O_RDONLY O_RDONLY
#define _O_WRONLY O_WRONLY
#define _O_RDWR O_RDWR
#define _O_CREAT O_CREAT
#define _O_TRUNC O_TRUNC
#define _O_BINARY 0
#define _O_TEXT 0
#define O_BINARY 0
#define O_TEXT 0
#define _setmode(fd, mode) 0
#define _fseeki64 fseeko
#define _ftelli64 ftello
#define _popen popen
#define _pclose pclose

/* strsafe.h */
#define STRSAFE_MAX_CCH 2147483647
#define STRSAFE_E_INSUFFICIENT_BUFFER ((HRESULT)0x8007007A)
#define STRSAFE_E_INVALID_PARAMETER ((HRESULT)0x80070057)
#define STRSAFE_E_END_OF_FILE ((HRESULT)0x80070026)
OVL_FN(HRESULT, StringCchCopyA, (LPSTR to, size_t size, LPCSTR from));
OVL_FN(HRESULT, StringCchCopyNA, (LPSTR to, size_t size, LPCSTR from, size_t count));
OVL_FN(HRESULT, StringCchCatA, (LPSTR to, size_t size, LPCSTR from));
OVL_FN(HRESULT, StringCchCatNA, (LPSTR to, size_t size, LPCSTR from, size_t count));
OVL_FN(HRESULT, StringCchPrintfA, (LPSTR to, size_t size, LPCSTR format, ...));
OVL_FN(HRESULT, StringCchVPrintfA, (LPSTR to, size_t size, LPCSTR format, va_list arguments));
OVL_FN(HRESULT, StringCchLengthA, (LPCSTR text, size_t size, size_t *length));
OVL_FN(HRESULT, StringCchCopyW, (LPWSTR to, size_t size, LPCWSTR from));
OVL_FN(HRESULT, StringCchCopyNW, (LPWSTR to, size_t size, LPCWSTR from, size_t count));
OVL_FN(HRESULT, StringCchCatNW, (LPWSTR to, size_t size, LPCWSTR from, size_t count));
OVL_FN(HRESULT, StringCchVPrintfW, (LPWSTR to, size_t size, LPCWSTR format, va_list arguments));
OVL_FN(HRESULT, StringCchCatW, (LPWSTR to, size_t size, LPCWSTR from));
OVL_FN(HRESULT, StringCchPrintfW, (LPWSTR to, size_t size, LPCWSTR format, ...));
OVL_FN(HRESULT, StringCchLengthW, (LPCWSTR text, size_t size, size_t *length));
#define StringCchCopy OVL_T(StringCchCopy)
#define StringCchCopyN OVL_T(StringCchCopyN)
#define StringCchCat OVL_T(StringCchCat)
#define StringCchCatN OVL_T(StringCchCatN)
#define StringCchPrintf OVL_T(StringCchPrintf)
#define StringCchVPrintf OVL_T(StringCchVPrintf)
#define StringCchLength OVL_T(StringCchLength)
/* Sizes in bytes are sizes in characters for narrow text. */
#define StringCbCopyA StringCchCopyA
#define StringCbCatA StringCchCatA
#define StringCbPrintfA StringCchPrintfA
#define StringCbLengthA StringCchLengthA
#define StringCbCopyW(to, bytes, from) StringCchCopyW((to), (bytes) / sizeof(WCHAR), (from))
#define StringCbCatW(to, bytes, from) StringCchCatW((to), (bytes) / sizeof(WCHAR), (from))
#define StringCbPrintfW(to, bytes, ...) StringCchPrintfW((to), (bytes) / sizeof(WCHAR), __VA_ARGS__)
#define StringCbCopy OVL_T(StringCbCopy)
#define StringCbCat OVL_T(StringCbCat)
#define StringCbPrintf OVL_T(StringCbPrintf)
#define wsprintf OVL_T(wsprintf)

OVL_END

#ifdef __cplusplus
namespace std {
using ::ovl_fscanf;
using ::ovl_scanf;
using ::ovl_sscanf;
}
/* Microsoft's functions take the size of an array from the array. */
extern "C++" {
template <size_t N> inline errno_t strcpy_s(char (&to)[N], const char *from) { return strcpy_s(to, N, from); }
template <size_t N> inline errno_t strcat_s(char (&to)[N], const char *from) { return strcat_s(to, N, from); }
template <size_t N> inline errno_t strncpy_s(char (&to)[N], const char *from, size_t count) { return strncpy_s(to, N, from, count); }
template <size_t N> inline errno_t wcscpy_s(wchar_t (&to)[N], const wchar_t *from) { return wcscpy_s(to, N, from); }
template <size_t N> inline errno_t wcscat_s(wchar_t (&to)[N], const wchar_t *from) { return wcscat_s(to, N, from); }
template <size_t N> inline errno_t wcsncpy_s(wchar_t (&to)[N], const wchar_t *from, size_t count) { return wcsncpy_s(to, N, from, count); }
template <size_t N> inline errno_t _itow_s(int value, wchar_t (&buffer)[N], int radix) { return _itow_s(value, buffer, N, radix); }
template <size_t N> inline errno_t _itoa_s(int value, char (&buffer)[N], int radix) { return _itoa_s(value, buffer, N, radix); }
template <size_t N> inline char *gets_s(char (&buffer)[N]) { return gets_s(buffer, N); }
template <size_t N> inline int sprintf_s(char (&buffer)[N], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = vsprintf_s(buffer, N, format, arguments);
    va_end(arguments);
    return result;
}
template <size_t N> inline int swprintf_s(wchar_t (&buffer)[N], const wchar_t *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = vswprintf(buffer, N, format, arguments);
    va_end(arguments);
    return result;
}
}
#endif
#define scanf ovl_scanf
#define sscanf ovl_sscanf
#define fscanf ovl_fscanf

/* `gets` has left the C library; programs of its time use it. It knows no size, here as there. */
#define gets(buffer) gets_s((buffer), (size_t)INT_MAX)

#endif
