#ifndef OVL_CRTDBG_H
#define OVL_CRTDBG_H
#include "windows.h"
#include <assert.h>
#define _CRTDBG_ALLOC_MEM_DF 0x01
#define _CRTDBG_LEAK_CHECK_DF 0x20
#define _CRTDBG_REPORT_FLAG (-1)
#define _CRTDBG_MODE_FILE 0x1
#define _CRT_WARN 0
#define _CRT_ERROR 1
#define _CRT_ASSERT 2
#define _ASSERT(condition) assert(condition)
#define _ASSERTE(condition) assert(condition)
#define _RPT0(type, text) ((void)0)
#define _CrtSetDbgFlag(flag) 0
#define _CrtDumpMemoryLeaks() 0
#define _CrtCheckMemory() 1
#define _CrtSetReportMode(type, mode) 0
#define _CrtSetBreakAlloc(n) 0
#endif
