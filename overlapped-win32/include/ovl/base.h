/* The types of 64-bit Windows, and how its functions are bound to this library's. */
#ifndef OVL_BASE_H
#define OVL_BASE_H

#include "words.h"

/* FD_SETSIZE before <winsock2.h> is the program's choice, unless it is the C library's own. */
#ifdef _SYS_SELECT_H
#undef FD_SETSIZE
#endif
#pragma push_macro("FD_SETSIZE")
#undef FD_SETSIZE

/* All that the C library might drag in later, so that the names below mean this library's things from here on. */
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include <sys/types.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef _SYS_SOCKET_H
#error "<winsock2.h> and <sys/socket.h> in one source file: use each in a file of its own."
#endif

#undef FD_SETSIZE
#pragma pop_macro("FD_SETSIZE")
#undef FD_SET
#undef FD_CLR
#undef FD_ISSET
#undef FD_ZERO
#define u_long ovl_u_long
#define fd_set ovl_fd_set
#define timeval ovl_timeval
#define select ovl_select
#define gethostname ovl_gethostname

#ifdef __cplusplus
#define OVL_BEGIN extern "C" {
#define OVL_END }
#else
#define OVL_BEGIN
#define OVL_END
#endif

/* A function under its Win32 name: no symbol of that name exists, so it may be one that the C library has, too. */
#define OVL_FN(result, name, arguments) extern result name arguments __asm__("ovl_" #name)
/* A function that is not there. Its use is an error when the program is compiled, and the message names it. */
#if defined(__has_attribute)
#if __has_attribute(error)
#define OVL_NO(name, why) \
    extern long long name(OVL_ANYTHING) __asm__("ovl_not_available_" #name) \
        __attribute__((error(#name " is not available in overlapped-win32: " why)))
#endif
#endif
#ifndef OVL_NO
#define OVL_NO(name, why) extern long long name(OVL_ANYTHING) __asm__("ovl_not_available_" #name)
#endif
#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ > 201710L && (__GNUC__ >= 13 || __clang_major__ >= 15))
#define OVL_ANYTHING ...
#else
#define OVL_ANYTHING
#endif

#define WINAPI
#define APIENTRY
#define CALLBACK
#define WINAPIV
#define WSAAPI
#define PASCAL
#define NTAPI
#define WINBASEAPI
#define WINADVAPI
#define NTSYSAPI
#define WINSOCK_API_LINKAGE
#define DECLSPEC_IMPORT
#define DECLSPEC_NORETURN __attribute__((noreturn))
#define DECLSPEC_ALIGN(bytes) __attribute__((aligned(bytes)))
#define FORCEINLINE static __forceinline
#define CDECL
#define FAR
#define NEAR
#ifndef far
#define far
#define near
#endif
#define CONST const
#define VOID void
#define IN
#define OUT
#define OPTIONAL
#define UNALIGNED
#define RESTRICTED_POINTER
#define EXTERN_C_START OVL_BEGIN
#define EXTERN_C_END OVL_END
#ifdef __cplusplus
#define EXTERN_C extern "C"
#else
#define EXTERN_C extern
#endif

/* Notes to Microsoft's analyser. (`__in` and `__out` are names that C++'s own headers use.) */
#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(n)
#define _In_reads_opt_(n)
#define _In_reads_bytes_(n)
#define _In_reads_bytes_opt_(n)
#define _In_range_(a, b)
#define _Inout_
#define _Inout_opt_
#define _Inout_updates_(n)
#define _Inout_updates_bytes_(n)
#define _Out_
#define _Out_opt_
#define _Out_writes_(n)
#define _Out_writes_opt_(n)
#define _Out_writes_bytes_(n)
#define _Out_writes_bytes_opt_(n)
#define _Out_writes_bytes_to_(n, m)
#define _Out_writes_bytes_to_opt_(n, m)
#define _Out_writes_z_(n)
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Deref_out_
#define _Reserved_
#define _Ret_maybenull_
#define _Ret_notnull_
#define _Return_type_success_(x)
#define _Success_(x)
#define _Must_inspect_result_
#define _Check_return_
#define _Printf_format_string_
#define _Pre_
#define _Post_
#define _Field_size_(n)
#define _Field_size_bytes_(n)
#define _When_(condition, note)
#define _Use_decl_annotations_
#define _Analysis_assume_(x)
#define _Acquires_lock_(x)
#define _Releases_lock_(x)
#define _Requires_lock_held_(x)
#define _Guarded_by_(x)
#define _Interlocked_operand_
#define _Function_class_(x)
#define _IRQL_requires_max_(x)
#ifndef __cplusplus
#define __in
#define __out
#define __inout
#define __in_opt
#define __out_opt
#define __inout_opt
#define __reserved
#endif
#define __in_bcount(n)
#define __out_bcount(n)
#define __in_ecount(n)
#define __out_ecount(n)
#define __deref_out
#define __checkReturn
#define __callback

#define UNREFERENCED_PARAMETER(p) ((void)(p))
#define DBG_UNREFERENCED_PARAMETER(p) ((void)(p))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(v) ((void)(v))

#define TRUE 1
#define FALSE 0
#undef MAX_PATH
#define MAX_PATH 260

/* windef.h, basetsd.h, winnt.h */
__extension__ typedef long long LONGLONG;
__extension__ typedef unsigned long long ULONGLONG;
__extension__ typedef long long LONG64, INT64, LONG_PTR, INT_PTR;
__extension__ typedef unsigned long long ULONG64, DWORD64, UINT64, ULONG_PTR, DWORD_PTR, UINT_PTR;
__extension__ typedef unsigned long long DWORDLONG;
typedef size_t SIZE_T;
typedef ssize_t SSIZE_T;
typedef char CHAR, CCHAR;
typedef signed char INT8;
typedef unsigned char BYTE, UCHAR, BOOLEAN, UINT8;
typedef short SHORT, INT16;
typedef unsigned short USHORT, WORD, UINT16, ATOM, LANGID;
typedef int BOOL, INT, INT32, LONG32;
typedef int LONG, HRESULT, NTSTATUS;
typedef unsigned int UINT, UINT32, ULONG32, DWORD32;
typedef unsigned int DWORD, ULONG, LCID, ACCESS_MASK, REGSAM, COLORREF;
typedef float FLOAT;
typedef double DOUBLE;
typedef wchar_t WCHAR; /* 32 bits: see docs/porting.md */
typedef void *PVOID, *LPVOID, *HANDLE;
typedef const void *LPCVOID, *PCVOID;
typedef CHAR *PCHAR, *LPCH, *PCH, *LPSTR, *PSTR, *NPSTR;
typedef const CHAR *LPCSTR, *PCSTR, *LPCCH, *PCSZ;
typedef WCHAR *PWCHAR, *LPWSTR, *PWSTR, *LPWCH, *PWCH, *BSTR;
typedef const WCHAR *LPCWSTR, *PCWSTR, *LPCWCH;
typedef BYTE *PBYTE, *LPBYTE;
typedef UCHAR *PUCHAR;
typedef BOOLEAN *PBOOLEAN;
typedef SHORT *PSHORT;
typedef USHORT *PUSHORT;
typedef WORD *PWORD, *LPWORD;
typedef BOOL *PBOOL, *LPBOOL;
typedef INT *PINT, *LPINT;
typedef UINT *PUINT;
typedef LONG *PLONG, *LPLONG;
typedef ULONG *PULONG;
typedef DWORD *PDWORD, *LPDWORD;
typedef FLOAT *PFLOAT;
typedef LONGLONG *PLONGLONG;
typedef ULONGLONG *PULONGLONG;
typedef INT64 *PINT64;
typedef DWORD64 *PDWORD64;
typedef LONG_PTR *PLONG_PTR;
typedef INT_PTR *PINT_PTR;
typedef ULONG_PTR *PULONG_PTR;
typedef UINT_PTR *PUINT_PTR;
typedef DWORD_PTR *PDWORD_PTR;
typedef SIZE_T *PSIZE_T, *LPSIZE_T;
typedef HANDLE *PHANDLE, *LPHANDLE;
typedef ULONG_PTR KAFFINITY;
typedef UINT_PTR WPARAM;
typedef LONG_PTR LPARAM, LRESULT;
typedef BYTE FCHAR;
#define DECLARE_HANDLE(name) \
    struct name##__ { \
        int unused; \
    }; \
    typedef struct name##__ *name
DECLARE_HANDLE(HINSTANCE);
DECLARE_HANDLE(HWND);
DECLARE_HANDLE(HICON);
DECLARE_HANDLE(HBRUSH);
DECLARE_HANDLE(HMENU);
DECLARE_HANDLE(HDC);
DECLARE_HANDLE(HKEY);
typedef HINSTANCE HMODULE;
typedef HICON HCURSOR;
typedef HANDLE HGLOBAL, HLOCAL;
typedef HKEY *PHKEY;
typedef INT_PTR (*FARPROC)(void);

#ifndef NULL
#define NULL 0
#endif

typedef union _LARGE_INTEGER {
    __extension__ struct {
        DWORD LowPart;
        LONG HighPart;
    };
    struct {
        DWORD LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef union _ULARGE_INTEGER {
    __extension__ struct {
        DWORD LowPart;
        DWORD HighPart;
    };
    struct {
        DWORD LowPart;
        DWORD HighPart;
    } u;
    ULONGLONG QuadPart;
} ULARGE_INTEGER, *PULARGE_INTEGER;

typedef struct _GUID {
    DWORD Data1;
    WORD Data2;
    WORD Data3;
    BYTE Data4[8];
} GUID, IID, CLSID, UUID, *LPGUID;
typedef const GUID *LPCGUID;
#ifdef __cplusplus
#define REFGUID const GUID &
#define REFIID const IID &
inline bool operator==(const GUID &a, const GUID &b) { return memcmp(&a, &b, sizeof a) == 0; }
inline bool operator!=(const GUID &a, const GUID &b) { return !(a == b); }
#define IsEqualGUID(a, b) ((a) == (b))
#else
#define REFGUID const GUID *
#define REFIID const IID *
#define IsEqualGUID(a, b) (memcmp((a), (b), sizeof(GUID)) == 0)
#endif

typedef struct _FILETIME {
    DWORD dwLowDateTime;
    DWORD dwHighDateTime;
} FILETIME, *PFILETIME, *LPFILETIME;

typedef struct _SYSTEMTIME {
    WORD wYear;
    WORD wMonth;
    WORD wDayOfWeek;
    WORD wDay;
    WORD wHour;
    WORD wMinute;
    WORD wSecond;
    WORD wMilliseconds;
} SYSTEMTIME, *PSYSTEMTIME, *LPSYSTEMTIME;

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY;
typedef struct _SINGLE_LIST_ENTRY {
    struct _SINGLE_LIST_ENTRY *Next;
} SINGLE_LIST_ENTRY, *PSINGLE_LIST_ENTRY;

typedef struct _SECURITY_ATTRIBUTES {
    DWORD nLength;
    LPVOID lpSecurityDescriptor;
    BOOL bInheritHandle;
} SECURITY_ATTRIBUTES, *PSECURITY_ATTRIBUTES, *LPSECURITY_ATTRIBUTES;
typedef PVOID PSECURITY_DESCRIPTOR, PSID;

typedef struct _OVERLAPPED {
    ULONG_PTR Internal;
    ULONG_PTR InternalHigh;
    __extension__ union {
        __extension__ struct {
            DWORD Offset;
            DWORD OffsetHigh;
        };
        PVOID Pointer;
    };
    HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED;

typedef struct _OVERLAPPED_ENTRY {
    ULONG_PTR lpCompletionKey;
    LPOVERLAPPED lpOverlapped;
    ULONG_PTR Internal;
    DWORD dwNumberOfBytesTransferred;
} OVERLAPPED_ENTRY, *LPOVERLAPPED_ENTRY;

typedef VOID(WINAPI *LPOVERLAPPED_COMPLETION_ROUTINE)(DWORD dwErrorCode, DWORD dwNumberOfBytesTransfered, LPOVERLAPPED lpOverlapped);

#define MAKEWORD(a, b) ((WORD)(((BYTE)((DWORD_PTR)(a) & 0xff)) | ((WORD)((BYTE)((DWORD_PTR)(b) & 0xff))) << 8))
#define MAKELONG(a, b) ((LONG)(((WORD)((DWORD_PTR)(a) & 0xffff)) | ((DWORD)((WORD)((DWORD_PTR)(b) & 0xffff))) << 16))
#define LOWORD(l) ((WORD)((DWORD_PTR)(l) & 0xffff))
#define HIWORD(l) ((WORD)(((DWORD_PTR)(l) >> 16) & 0xffff))
#define LOBYTE(w) ((BYTE)((DWORD_PTR)(w) & 0xff))
#define HIBYTE(w) ((BYTE)(((DWORD_PTR)(w) >> 8) & 0xff))
#define CONTAINING_RECORD(address, type, field) ((type *)((char *)(address) - offsetof(type, field)))
#define FIELD_OFFSET(type, field) ((LONG)offsetof(type, field))
#define HandleToULong(h) ((ULONG)(ULONG_PTR)(h))
#define HandleToUlong HandleToULong
#define PtrToUlong(p) ((ULONG)(ULONG_PTR)(p))
#define PtrToInt(p) ((INT)(INT_PTR)(p))
#define UlongToPtr(ul) ((PVOID)(ULONG_PTR)(ULONG)(ul))
#define UlongToHandle(ul) ((HANDLE)(ULONG_PTR)(ULONG)(ul))
#define LongToHandle(l) ((HANDLE)(LONG_PTR)(LONG)(l))
#define IntToPtr(i) ((PVOID)(INT_PTR)(INT)(i))

#define MAXDWORD 0xffffffffu
#define MAXLONG 0x7fffffff
#define MAXWORD 0xffff
#define MAXBYTE 0xff
#define MAXULONG_PTR (~((ULONG_PTR)0))
#define MINCHAR 0x80
#define MAXCHAR 0x7f

#define __min(a, b) (((a) < (b)) ? (a) : (b))
#define __max(a, b) (((a) > (b)) ? (a) : (b))

#endif
