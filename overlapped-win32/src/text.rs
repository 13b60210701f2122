//! The functions of Microsoft's C run-time library that others have not, or have otherwise. They are C (`crt.c`), because Rust defines no
//! functions with a variable number of arguments; a jump gives each to the linker, whatever its arguments are.

use std::arch::naked_asm;

macro_rules! jumps {
    ($($(#[$doc:meta])* $name:ident => $target:ident;)*) => {
        unsafe extern "C" {
            $(fn $target();)*
        }
        $(
            #[doc = concat!("`", stringify!($name), "`, without the prefix.")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                naked_asm!("jmp {}", sym $target);
                #[cfg(target_arch = "aarch64")]
                naked_asm!("b {}", sym $target);
            }
        )*
    };
}

jumps! {
    ovl_vfprintf => crt_vfprintf;
    ovl_vprintf => crt_vprintf;
    ovl_printf => crt_printf;
    ovl_fprintf => crt_fprintf;
    ovl_vsnprintf => crt_vsnprintf;
    ovl_snprintf => crt_snprintf;
    ovl_vsprintf => crt_vsprintf;
    ovl_sprintf => crt_sprintf;
    ovl__scprintf => crt__scprintf;
    ovl_printf_s => crt_printf_s;
    ovl_fprintf_s => crt_fprintf_s;
    ovl_vsprintf_s => crt_vsprintf_s;
    ovl_sprintf_s => crt_sprintf_s;
    ovl__vsnprintf => crt__vsnprintf;
    ovl__snprintf => crt__snprintf;
    ovl__vsnprintf_s => crt__vsnprintf_s;
    ovl__snprintf_s => crt__snprintf_s;
    ovl_wsprintfA => crt_wsprintfA;
    ovl_vfwprintf => crt_vfwprintf;
    ovl_vwprintf => crt_vwprintf;
    ovl_wprintf => crt_wprintf;
    ovl_wprintf_s => crt_wprintf_s;
    ovl_fwprintf => crt_fwprintf;
    ovl_vswprintf => crt_vswprintf;
    ovl_swprintf => crt_swprintf;
    ovl_swprintf_s => crt_swprintf_s;
    ovl__snwprintf => crt__snwprintf;
    ovl_wsprintfW => crt_wsprintfW;
    ovl_scanf => crt_scanf;
    ovl_fscanf => crt_fscanf;
    ovl_sscanf => crt_sscanf;
    ovl_scanf_s => crt_scanf_s;
    ovl_fscanf_s => crt_fscanf_s;
    ovl_sscanf_s => crt_sscanf_s;
    ovl_gets_s => crt_gets_s;
    ovl__getch => crt__getch;
    ovl__getche => crt__getche;
    ovl__kbhit => crt__kbhit;
    ovl__putch => crt__putch;
    ovl__cputs => crt__cputs;
    ovl__cprintf => crt__cprintf;
    ovl_system => crt_system;
    ovl_strcpy_s => crt_strcpy_s;
    ovl_strncpy_s => crt_strncpy_s;
    ovl_strncat_s => crt_strncat_s;
    ovl_strcat_s => crt_strcat_s;
    ovl_wcscpy_s => crt_wcscpy_s;
    ovl_wcscat_s => crt_wcscat_s;
    ovl_wcsncpy_s => crt_wcsncpy_s;
    ovl_memmove_s => crt_memmove_s;
    ovl_memcpy_s => crt_memcpy_s;
    ovl_strerror_s => crt_strerror_s;
    ovl_strnlen_s => crt_strnlen_s;
    ovl_strtok_s => crt_strtok_s;
    ovl__strlwr => crt__strlwr;
    ovl__strupr => crt__strupr;
    ovl__strrev => crt__strrev;
    ovl__wcsicmp => crt__wcsicmp;
    ovl__wcsnicmp => crt__wcsnicmp;
    ovl__wtoi => crt__wtoi;
    ovl__i64toa => crt__i64toa;
    ovl__ui64toa => crt__ui64toa;
    ovl__ultoa => crt__ultoa;
    ovl__itoa => crt__itoa;
    ovl__ltoa => crt__ltoa;
    ovl__itoa_s => crt__itoa_s;
    ovl__itow => crt__itow;
    ovl__itow_s => crt__itow_s;
    ovl__atoi64 => crt__atoi64;
    ovl_StringCchCopyNA => crt_StringCchCopyNA;
    ovl_StringCchCopyA => crt_StringCchCopyA;
    ovl_StringCchCatA => crt_StringCchCatA;
    ovl_StringCchCatNA => crt_StringCchCatNA;
    ovl_StringCchVPrintfA => crt_StringCchVPrintfA;
    ovl_StringCchPrintfA => crt_StringCchPrintfA;
    ovl_StringCchLengthA => crt_StringCchLengthA;
    ovl_StringCchCopyW => crt_StringCchCopyW;
    ovl_StringCchCopyNW => crt_StringCchCopyNW;
    ovl_StringCchCatW => crt_StringCchCatW;
    ovl_StringCchCatNW => crt_StringCchCatNW;
    ovl_StringCchVPrintfW => crt_StringCchVPrintfW;
    ovl_StringCchPrintfW => crt_StringCchPrintfW;
    ovl_StringCchLengthW => crt_StringCchLengthW;
    ovl_lstrlenA => crt_lstrlenA;
    ovl_lstrlenW => crt_lstrlenW;
    ovl_lstrcpyA => crt_lstrcpyA;
    ovl_lstrcpynA => crt_lstrcpynA;
    ovl_lstrcatA => crt_lstrcatA;
    ovl_lstrcmpA => crt_lstrcmpA;
    ovl_lstrcmpiA => crt_lstrcmpiA;
    ovl_lstrcpyW => crt_lstrcpyW;
    ovl_lstrcpynW => crt_lstrcpynW;
    ovl_lstrcatW => crt_lstrcatW;
    ovl_lstrcmpW => crt_lstrcmpW;
    ovl_lstrcmpiW => crt_lstrcmpiW;
    ovl_fgetws => crt_fgetws;
    ovl_fputws => crt_fputws;
    ovl_getwchar => crt_getwchar;
    ovl_putwchar => crt_putwchar;
    ovl__putws => crt__putws;
    ovl_fopen_s => crt_fopen_s;
    ovl__wfopen_s => crt__wfopen_s;
    ovl__wfopen => crt__wfopen;
    ovl__fsopen => crt__fsopen;
    ovl__flushall => crt__flushall;
    ovl_localtime_s => crt_localtime_s;
    ovl_gmtime_s => crt_gmtime_s;
    ovl_ctime_s => crt_ctime_s;
    ovl_asctime_s => crt_asctime_s;
    ovl_rand_s => crt_rand_s;
    ovl_getenv_s => crt_getenv_s;
    ovl__dupenv_s => crt__dupenv_s;
    ovl__putenv => crt__putenv;
    ovl__sleep => crt__sleep;
    ovl_try_begin => crt_try_begin;
    ovl_try_here => crt_try_here;
    ovl_try_end => crt_try_end;
}
