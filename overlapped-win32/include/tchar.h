/* Text that is narrow or, with _UNICODE, wide. */
#ifndef OVL_TCHAR_H
#define OVL_TCHAR_H

#include "windows.h"
#include <wctype.h>

#ifdef _UNICODE
#define _T(text) L##text
#define _tmain wmain
#define _tprintf wprintf
#define _tprintf_s wprintf_s
#define _ftprintf fwprintf
#define _stprintf_s swprintf_s
#define _sntprintf _snwprintf
#define _tcslen wcslen
#define _tcscpy wcscpy
#define _tcscpy_s wcscpy_s
#define _tcscat wcscat
#define _tcscat_s wcscat_s
#define _tcscmp wcscmp
#define _tcsncmp wcsncmp
#define _tcsicmp _wcsicmp
#define _tcschr wcschr
#define _tcsrchr wcsrchr
#define _tcsstr wcsstr
#define _tcsdup _wcsdup
#define _tcsncpy wcsncpy
#define _tcsncpy_s wcsncpy_s
#define _tcsnicmp _wcsnicmp
#define _tcstok(text, delimiters) ovl_wcstok((text), (delimiters))
#define _tcstok_s wcstok
#define _ttoi _wtoi
#define _tstoi _wtoi
#define _tcstol wcstol
#define _tcstoul wcstoul
#define _itot _itow
#define _itot_s _itow_s
#define _tfopen _wfopen
#define _tfopen_s _wfopen_s
#define _fgetts fgetws
#define _fputts fputws
#define _putts _putws
#define _puttchar putwchar
#define _gettchar getwchar
#define _istdigit iswdigit
#define _istalpha iswalpha
#define _istspace iswspace
#define _totlower towlower
#define _totupper towupper
OVL_BEGIN
OVL_NO(_tscanf, "wide input has no formats; read a line with _fgetts, or narrow text with scanf");
OVL_NO(_tscanf_s, "wide input has no formats; read a line with _fgetts, or narrow text with scanf_s");
static __inline__ __attribute__((unused)) wchar_t *ovl_wcstok(wchar_t *text, const wchar_t *delimiters)
{
    static __thread wchar_t *context;
    return wcstok(text, delimiters, &context);
}
OVL_END
typedef wchar_t _TCHAR;
typedef wint_t _TINT;
#else
#define _T(text) text
#define _tmain main
#define _tprintf printf
#define _tprintf_s printf_s
#define _ftprintf fprintf
#define _ftprintf_s fprintf_s
#define _stprintf sprintf
#define _stprintf_s sprintf_s
#define _sntprintf _snprintf
#define _sntprintf_s _snprintf_s
#define _vstprintf vsprintf
#define _vsntprintf _vsnprintf
#define _tscanf scanf
#define _tscanf_s scanf_s
#define _stscanf sscanf
#define _fgetts fgets
#define _fputts fputs
#define _getts gets
#define _getts_s gets_s
#define _putts puts
#define _puttchar putchar
#define _gettchar getchar
#define _tcslen strlen
#define _tcscpy strcpy
#define _tcscpy_s strcpy_s
#define _tcsncpy strncpy
#define _tcsncpy_s strncpy_s
#define _tcscat strcat
#define _tcscat_s strcat_s
#define _tcscmp strcmp
#define _tcsncmp strncmp
#define _tcsicmp _stricmp
#define _tcsnicmp _strnicmp
#define _tcschr strchr
#define _tcsrchr strrchr
#define _tcsstr strstr
#define _tcstok strtok
#define _tcstok_s strtok_s
#define _tcsdup _strdup
#define _tcslwr _strlwr
#define _tcsupr _strupr
#define _ttoi atoi
#define _ttol atol
#define _tstoi atoi
#define _tcstol strtol
#define _tcstoul strtoul
#define _itot _itoa
#define _itot_s _itoa_s
#define _tfopen fopen
#define _tfopen_s fopen_s
#define _tsystem system
#define _tgetenv getenv
#define _istdigit isdigit
#define _istalpha isalpha
#define _istspace isspace
#define _totlower tolower
#define _totupper toupper
typedef char _TCHAR;
typedef int _TINT;
#endif
#define _TEXT(text) _T(text)

#endif
