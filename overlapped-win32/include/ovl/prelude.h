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

#if defined(__cplusplus) && defined(OVL_VOID_MAIN)
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

#endif
