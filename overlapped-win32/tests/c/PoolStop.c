/* A pool of threads around a port: work is posted, and a packet without an OVERLAPPED for each thread stops them. */
#include <windows.h>
#include <process.h>
#include <stdio.h>

#define THREADS 6
#define JOBS 5000

static HANDLE hPort;
static volatile long lDone;
static volatile LONG lSum;
static CRITICAL_SECTION cs;
static DWORD dwByThread[THREADS];

static unsigned int __stdcall ThreadProc(void *pv)
{
	DWORD dwBytes;
	ULONG_PTR ulKey;
	LPOVERLAPPED pov;
	int nIndex = (int)(INT_PTR)pv;

	while (GetQueuedCompletionStatus(hPort, &dwBytes, &ulKey, &pov, INFINITE) && pov != NULL)
	{
		InterlockedExchangeAdd(&lSum, (LONG)dwBytes);
		EnterCriticalSection(&cs);
		dwByThread[nIndex]++;
		LeaveCriticalSection(&cs);
		if (InterlockedIncrement(&lDone) % 1000 == 0)
			Sleep(1);
	}
	return 7;
}

int __cdecl main()
{
	HANDLE h[THREADS];
	OVERLAPPED ov;
	DWORD dwCode, dwTotal = 0;
	int i;

	InitializeCriticalSection(&cs);
	hPort = CreateIoCompletionPort(INVALID_HANDLE_VALUE, 0, 0, 2);
	for (i = 0; i < THREADS; i++)
		h[i] = (HANDLE)_beginthreadex(0, 0, ThreadProc, (void *)(INT_PTR)i, 0, 0);
	for (i = 1; i <= JOBS; i++)
		PostQueuedCompletionStatus(hPort, i, 0, &ov);
	for (i = 0; i < THREADS; i++)
		PostQueuedCompletionStatus(hPort, 0, 0, NULL);
	if (WaitForMultipleObjects(THREADS, h, TRUE, 30000) != WAIT_OBJECT_0)
		return puts("they do not end"), 1;
	for (i = 0; i < THREADS; i++)
	{
		GetExitCodeThread(h[i], &dwCode);
		if (dwCode != 7)
			return puts("a wrong exit code"), 1;
		CloseHandle(h[i]);
		dwTotal += dwByThread[i];
	}
	CloseHandle(hPort);
	DeleteCriticalSection(&cs);
	printf("%lu jobs, sum %ld\n", dwTotal, lSum);
	if (dwTotal != JOBS || lSum != JOBS * (JOBS + 1) / 2)
		return puts("wrong"), 1;
	puts("OK");
	return 0;
}
