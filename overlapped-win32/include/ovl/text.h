/* What a program decides: UNICODE, NOMINMAX, WIN32_LEAN_AND_MEAN, _WIN32_WINNT. Not part of what is put before each source, so that a source
 * may define them in its first line. */
#ifndef OVL_TEXT_H
#define OVL_TEXT_H

#include "base.h"

/* Both spellings of a name: with and without UNICODE. */
#ifdef UNICODE
#define OVL_T(name) name##W
#else
#define OVL_T(name) name##A
#endif

#ifdef UNICODE
typedef WCHAR TCHAR, *PTCHAR;
typedef LPWSTR LPTSTR, PTSTR, LPTCH;
typedef LPCWSTR LPCTSTR, PCTSTR;
#define __TEXT(text) L##text
#else
typedef char TCHAR, *PTCHAR;
typedef LPSTR LPTSTR, PTSTR, LPTCH;
typedef LPCSTR LPCTSTR, PCTSTR;
#define __TEXT(text) text
#endif
typedef TCHAR TBYTE;
#define TEXT(text) __TEXT(text)

#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#ifndef WINVER
#define WINVER _WIN32_WINNT
#endif
#define _WIN32_WINNT_NT4 0x0400
#define _WIN32_WINNT_WIN2K 0x0500
#define _WIN32_WINNT_WINXP 0x0501
#define _WIN32_WINNT_WS03 0x0502
#define _WIN32_WINNT_WIN6 0x0600
#define _WIN32_WINNT_VISTA 0x0600
#define _WIN32_WINNT_WS08 0x0600
#define _WIN32_WINNT_WIN7 0x0601
#define _WIN32_WINNT_WIN8 0x0602
#define _WIN32_WINNT_WINBLUE 0x0603
#define _WIN32_WINNT_WIN10 0x0A00

#ifndef NOMINMAX
#ifdef __cplusplus
/* Microsoft's are macros, which C++'s own headers do not survive. These give way to std::min and std::max where both fit. */
extern "C++" {
#if __cplusplus >= 201103L
template <class A, class B> constexpr auto min(const A &a, const B &b) -> decltype(true ? A(a) : B(b)) { return b < a ? b : a; }
template <class A, class B> constexpr auto max(const A &a, const B &b) -> decltype(true ? A(a) : B(b)) { return a < b ? b : a; }
#else
template <class A, class B> inline A min(const A &a, const B &b) { return b < a ? A(b) : a; }
template <class A, class B> inline A max(const A &a, const B &b) { return a < b ? A(b) : a; }
#endif
}
#else
#ifndef min
#define min(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef max
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif
#endif
#endif
#if !defined(WIN32_LEAN_AND_MEAN) && !defined(interface)
#define interface struct
#endif

#endif
