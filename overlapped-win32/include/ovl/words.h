/* Words that Microsoft's compilers know without any header. `ovl cc` puts this file (through ovl/prelude.h) before each source. */
#ifndef OVL_WORDS_H
#define OVL_WORDS_H

#ifndef __linux__
#error "These headers bring Windows' functions to Linux. On Windows use the system's own."
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "overlapped-win32 has 64-bit Windows' types and sizes: it needs a 64-bit system (x86-64 or AArch64)."
#endif

/* `long` stays 64 bits wide, as the C library has it; LONG, DWORD and u_long are 32. */
#define __int8 char
#define __int16 short
#define __int32 int
#define __int64 long long
#define _int64 long long

#undef __cdecl
#undef __stdcall
#undef __fastcall
#undef __thiscall
#undef __vectorcall
#define __cdecl
#define __stdcall
#define __fastcall
#define __thiscall
#define __vectorcall
#define _cdecl
#define _stdcall
#define _fastcall
#define __pascal
#define __export
#define __far
#define __near
#define __w64
#define __ptr64
#define __ptr32
#define __unaligned
#define __based(x)

#undef __declspec
#define __declspec(what) ovl_declspec_##what
#define _declspec(what) ovl_declspec_##what
#define ovl_declspec_dllexport __attribute__((visibility("default")))
#define ovl_declspec_dllimport
#define ovl_declspec_noreturn __attribute__((noreturn))
#define ovl_declspec_noinline __attribute__((noinline))
#define ovl_declspec_nothrow __attribute__((nothrow))
#define ovl_declspec_naked __attribute__((naked))
#if defined(__cplusplus) && __cplusplus >= 201103L
#define ovl_declspec_thread thread_local
#elif defined(__cplusplus)
#define ovl_declspec_thread __thread
#else
#define ovl_declspec_thread _Thread_local /* which may stand before `static` */
#endif
#define ovl_declspec_align(bytes) __attribute__((aligned(bytes)))
#define ovl_declspec_deprecated(...) __attribute__((deprecated))
#define ovl_declspec_selectany __attribute__((weak))
#define ovl_declspec_novtable
#define ovl_declspec_restrict
#define ovl_declspec_noalias
#define ovl_declspec_uuid(text)
#define ovl_declspec_allocate(text) __attribute__((section(text)))
#define ovl_declspec_property(...)

#ifdef __cplusplus
#define __forceinline inline __attribute__((always_inline))
#define _inline inline
#else
#define __forceinline __inline__ __attribute__((always_inline))
#define _inline __inline__
#endif
#define __assume(condition) ((void)0)
#define __noop(...) ((void)0)
#define __debugbreak() __builtin_trap()
#ifndef __pragma /* Clang knows it */
#define __pragma(...)
#endif
#define __FUNCSIG__ __PRETTY_FUNCTION__

/* `__try`, for what happens while there is no exception: the body runs, `__leave` ends it, `__finally` follows, `__except` does not.
 * A `return` or `goto` out of the body skips `__finally`, and a fault is not caught: see docs/porting.md. */
#ifdef __cplusplus
namespace ovl {
struct leave_try {};
}
#define __try try
#define __leave throw ::ovl::leave_try()
#define __finally catch (const ::ovl::leave_try &) {}
#define __except(filter) \
    catch (const ::ovl::leave_try &) {} \
    if (0 && (filter))
#else
/* One for each `__try` that the thread is in. */
struct ovl_try {
    char *frame;
    int line;
    __extension__ void *state[64];
};
extern struct ovl_try *ovl_try_begin(char *frame, int line);
extern void ovl_try_end(char *frame);
extern struct ovl_try *ovl_try_here(char *frame);
extern int ovl_setjmp(void *state) __asm__("_setjmp") __attribute__((returns_twice));
extern void ovl_longjmp(void *state, int value) __asm__("_longjmp") __attribute__((noreturn));
#define __try if (ovl_setjmp(ovl_try_begin((char *)__builtin_frame_address(0), __LINE__)->state) == 0)
#define __leave ovl_longjmp(ovl_try_here((char *)__builtin_frame_address(0))->state, 1)
#define __finally ovl_try_end((char *)__builtin_frame_address(0));
#define __except(filter) \
    ovl_try_end((char *)__builtin_frame_address(0)); \
    if (0 && (filter))
#endif

#endif
