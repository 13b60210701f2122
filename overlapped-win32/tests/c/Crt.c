/* The run-time library as Microsoft's programs know it, and what its compiler lets pass. */
#include <tchar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <Windows.h>
#include <StrSafe.h>
#include <conio.h>
#include <assert.h>

static int failures;
#define SAME(a, b) (strcmp((a), (b)) ? (printf("line %d: \"%s\", not \"%s\"\n", __LINE__, (a), (b)), failures++) : 0)
#define IS(x) ((x) ? 0 : (printf("line %d: %s\n", __LINE__, #x), failures++))

typedef struct { int a; } BASE;
typedef struct { BASE; int b; } DERIVED; /* a field without a name */
__declspec(align(32)) static char aligned[32];
__declspec(thread) static int per_thread = 3;

static int Tries(int leave, int inner)
{
	int trail = 0, i;
	__try {
		trail = trail * 10 + 1;
		for (i = 0; i < 3; i++)
			if (leave && i == 1)
				__leave;
		__try {
			if (inner)
				__leave;
			trail = trail * 10 + 2;
		} __finally {
			trail = trail * 10 + 3;
		}
		trail = trail * 10 + 4;
	} __finally {
		trail = trail * 10 + 5;
	}
	__try {
		trail = trail * 10 + 6;
	} __except (EXCEPTION_EXECUTE_HANDLER) {
		trail = 0;
	}
	return trail;
}

static DWORD WINAPI Once(LPVOID p) { InterlockedIncrement((LONG *)p); return 0; }

BOOL CALLBACK InitOnce(PINIT_ONCE once, PVOID parameter, PVOID *context)
{
	(void)once;
	++*(int *)parameter;
	*context = (PVOID)0x40;
	return TRUE;
}

int _tmain(int argc, _TCHAR *argv[])
{
	char b[64], c[8], *context;
	TCHAR t[32];
	WCHAR w[32];
	LONG l = -5;
	DWORD d = 4000000000u;
	__int64 big = -1234567890123LL;
	ULONGLONG ticks;
	LARGE_INTEGER frequency, from, to;
	SYSTEMTIME st;
	FILETIME ft;
	LPVOID message = NULL;
	CRITICAL_SECTION cs;
	SRWLOCK srw = SRWLOCK_INIT;
	CONDITION_VARIABLE cv = CONDITION_VARIABLE_INIT;
	INIT_ONCE once = INIT_ONCE_STATIC_INIT;
	int calls = 0, n = 0;
	PVOID result;
	DERIVED derived;
	LONG count = 0;
	FILE *f;
	(void)argc, (void)argv;

	/* formats */
	sprintf(b, "%ld %lu %I64d %Id", l, d, big, (SIZE_T)7);
	SAME(b, "-5 4000000000 -1234567890123 7");
	sprintf(b, "%lx|%5ld|%-5lu|%08lX", d, l, 7ul, 0xbeeful);
	SAME(b, "ee6b2800|   -5|7    |0000BEEF");
	IS(sprintf_s(b, sizeof(b), "%s-%d", "abc", 5) == 5);
	SAME(b, "abc-5");
	sprintf(b, "%S %ls %hs %C", L"wide", L"w", "narrow", L'x');
	SAME(b, "wide w narrow x");
	IS(_snprintf(c, sizeof(c), "%s", "12345678") == 8 && !memcmp(c, "12345678", 8));
	IS(_snprintf(c, sizeof(c), "%s", "123456789") == -1);
	IS(_snprintf_s(c, sizeof(c), _TRUNCATE, "%s", "123456789") == -1);
	SAME(c, "1234567");
	swprintf(w, 32, L"%s=%d", L"k", 3);
	IS(wcscmp(w, L"k=3") == 0);
	wprintf(L"%s %S\n", L"wide", "narrow");
	printf_s("%s\n", "mixed with narrow");
	_stprintf_s(t, _countof(t), _T("%s"), TEXT("tchar"));
	SAME(t, "tchar");

	/* text */
	IS(strcpy_s(c, sizeof(c), "1234567") == 0);
	IS(strcpy_s(c, sizeof(c), "12345678") != 0 && c[0] == 0);
	strcpy_s(c, sizeof(c), "ab");
	IS(strcat_s(c, sizeof(c), "cd") == 0);
	SAME(c, "abcd");
	IS(strncpy_s(c, sizeof(c), "123456789", _TRUNCATE) == STRUNCATE);
	SAME(c, "1234567");
	IS(_stricmp("HeLLo", "hEllO") == 0 && _strnicmp("ABx", "aby", 2) == 0);
	SAME(_strupr(strcpy(b, "abc")), "ABC");
	SAME(_strrev(strcpy(b, "abc")), "cba");
	SAME(_itoa(-255, b, 10), "-255");
	SAME(_itoa(255, b, 16), "ff");
	strcpy(b, "a,b");
	SAME(strtok_s(b, ",", &context), "a");
	SAME(strtok_s(NULL, ",", &context), "b");
	IS(memcpy_s(c, sizeof(c), "12345678", 8) == 0 && memcpy_s(c, sizeof(c), "123456789", 9) != 0);
	IS(StringCchCopy(t, 4, TEXT("abcdef")) == STRSAFE_E_INSUFFICIENT_BUFFER);
	SAME(t, "abc");
	IS(SUCCEEDED(StringCchPrintf(t, _countof(t), TEXT("%d %s"), 5, TEXT("x"))));
	SAME(t, "5 x");
	IS(sscanf_s("12 word x", "%d %s %c", &n, b, (unsigned)sizeof(b), c, 1u) == 3 && n == 12 && c[0] == 'x');
	SAME(b, "word");
	IS(sscanf("4000000001", "%lu", &d) == 1 && d == 4000000001u);
	IS(sscanf_s("toolong", "%s", c, 4u) == 0 && c[0] == 0);
	IS(MultiByteToWideChar(CP_UTF8, 0, "gr\xc3\xbc\xc3\x9f", -1, w, 32) == 5 && w[2] == 0xfc);
	IS(WideCharToMultiByte(CP_ACP, 0, w, -1, b, sizeof(b), NULL, NULL) == 7);
	SAME(b, "gr\xc3\xbc\xc3\x9f");
	IS(fopen_s(&f, "no/such/file", "r") != 0 && f == NULL);

	/* the compiler's words */
	derived.a = 1;
	derived.b = 2;
	IS(derived.a + derived.b == 3 && ((ULONG_PTR)aligned & 31) == 0 && per_thread == 3);
	IS(Tries(0, 0) == 123456 && Tries(0, 1) == 13456 && Tries(1, 0) == 156);
	IS(max(2, 3) == 3 && min(2, 3) == 2);

	/* time */
	ticks = GetTickCount64();
	IS(QueryPerformanceFrequency(&frequency) && QueryPerformanceCounter(&from));
	Sleep(30);
	QueryPerformanceCounter(&to);
	IS((to.QuadPart - from.QuadPart) * 1000 / frequency.QuadPart >= 29);
	IS(GetTickCount64() - ticks >= 15);
	GetSystemTime(&st);
	IS(SystemTimeToFileTime(&st, &ft) && ft.dwHighDateTime > 0x01d00000);

	/* errors */
	IS(FormatMessage(FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, ERROR_ACCESS_DENIED,
					 MAKELANGID(LANG_NEUTRAL, SUBLANG_DEFAULT), (LPTSTR)&message, 0, NULL) > 5);
	IS(message && strstr((char *)message, "\r\n"));
	IS(LocalFree(message) == NULL);
	IS(FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM, NULL, 0x7fff1234, 0, b, sizeof(b), NULL) == 0 && GetLastError() == 317);

	/* locks */
	InitializeCriticalSection(&cs);
	EnterCriticalSection(&cs);
	IS(TryEnterCriticalSection(&cs));
	LeaveCriticalSection(&cs);
	IS(!SleepConditionVariableCS(&cv, &cs, 20) && GetLastError() == ERROR_TIMEOUT);
	LeaveCriticalSection(&cs);
	DeleteCriticalSection(&cs);
	AcquireSRWLockShared(&srw);
	IS(TryAcquireSRWLockShared(&srw) && !TryAcquireSRWLockExclusive(&srw));
	ReleaseSRWLockShared(&srw);
	ReleaseSRWLockShared(&srw);
	IS(InitOnceExecuteOnce(&once, InitOnce, &calls, &result) && InitOnceExecuteOnce(&once, InitOnce, &calls, &result));
	IS(calls == 1 && result == (PVOID)0x40);
	IS(InterlockedIncrement(&count) == 1 && InterlockedExchangeAdd(&count, 5) == 1 && InterlockedCompareExchange(&count, 9, 6) == 6 && count == 9);
	QueueUserWorkItem(Once, &count, WT_EXECUTEDEFAULT);
	for (n = 0; n < 500 && InterlockedCompareExchange(&count, 0, 0) == 9; n++)
		Sleep(10);
	IS(count == 10);

	/* memory */
	result = VirtualAlloc(NULL, 1 << 20, MEM_RESERVE, PAGE_NOACCESS);
	IS(result && ((ULONG_PTR)result & 0xffff) == 0);
	IS(VirtualAlloc((char *)result + 65536, 4096, MEM_COMMIT, PAGE_READWRITE) != NULL);
	((char *)result)[65536] = 1;
	IS(VirtualFree(result, 0, MEM_RELEASE) && !VirtualFree(result, 0, MEM_RELEASE));
	result = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, 100);
	IS(result && ((char *)result)[99] == 0);
	HeapFree(GetProcessHeap(), 0, result);

	if (failures == 0)
		puts("OK");
	return failures != 0;
}
