/* Put before each source by `ovl cc`: what Microsoft's compilers know without a header, and their run-time library's functions. */
#ifndef OVL_PRELUDE_H
#define OVL_PRELUDE_H

#if defined(__cplusplus) && defined(OVL_FILESYSTEM)
#include <filesystem> /* has paths of its own where _WIN32 is defined */
#endif

#ifndef _WIN32
#define _WIN32 1
#endif
#ifndef WIN32
#define WIN32 1
#endif
#ifndef _WIN64
#define _WIN64 1
#endif
#include "crt.h"

#if defined(__cplusplus) && defined(OVL_VOID_MAIN) && !defined(OVL_WIDE_MAIN)
/* `void main` in C++, which only Microsoft's compiler lets pass: the program's is called by a proper one. */
__attribute__((weak)) void ovl_main();
__attribute__((weak)) void ovl_main(int, char **);
__attribute__((weak)) void ovl_main(int, char **, char **);
__attribute__((weak)) int main(int count, char **arguments, char **environment)
{
    if (static_cast<void (*)()>(ovl_main))
        ovl_main();
    else if (static_cast<void (*)(int, char **)>(ovl_main))
        ovl_main(count, arguments);
    else
        ovl_main(count, arguments, environment);
}
#define main ovl_main
#endif

#ifdef OVL_WIDE_MAIN
/* `wmain`, or `_tmain` with _UNICODE: a proper main calls it, with arguments made wide. They have 32 bits a character, like all wide text here. */
#ifdef __cplusplus
#ifdef OVL_VOID_MAIN
#define ovl_wmain_result void
#else
#define ovl_wmain_result int
#endif
__attribute__((weak)) ovl_wmain_result ovl_wmain();
__attribute__((weak)) ovl_wmain_result ovl_wmain(int, wchar_t **);
__attribute__((weak)) ovl_wmain_result ovl_wmain(int, wchar_t **, wchar_t **);
extern "C" wchar_t **ovl_wide_texts(char **texts);
#undef main
__attribute__((weak)) int main(int count, char **arguments, char **environment)
{
    typedef int (*Program)(int, wchar_t **, wchar_t **);
    Program program = reinterpret_cast<Program>(static_cast<ovl_wmain_result (*)(int, wchar_t **)>(ovl_wmain));
    if (!program)
        program = reinterpret_cast<Program>(static_cast<ovl_wmain_result (*)()>(ovl_wmain));
    if (!program)
        program = reinterpret_cast<Program>(static_cast<ovl_wmain_result (*)(int, wchar_t **, wchar_t **)>(ovl_wmain));
    return program(count, ovl_wide_texts(arguments), ovl_wide_texts(environment));
}
#else
extern wchar_t **ovl_wide_texts(char **texts);
extern int ovl_wide_program(int, wchar_t **, wchar_t **) __asm__("ovl_wmain");
__attribute__((weak)) int main(int count, char **arguments, char **environment)
{
    return ovl_wide_program(count, ovl_wide_texts(arguments), ovl_wide_texts(environment));
}
#endif
#define wmain ovl_wmain
#endif

#endif
