/* Copies a file with a completion port that both files belong to; the key says which one it was. */
#include <windows.h>
#include <stdio.h>
#include <tchar.h>

#define BUFFERS 8
#define BUFFSIZE (16 * 1024)
enum { CK_READ = 1, CK_WRITE = 2 };

typedef struct _IOREQ {
	OVERLAPPED ov;
	PVOID data;
} IOREQ;

int _tmain(int argc, TCHAR *argv[])
{
	HANDLE source, target, port;
	LARGE_INTEGER size, position = {0};
	IOREQ requests[BUFFERS] = {0};
	int reads = 0, writes = 0, i;

	if (argc < 3) {
		_tprintf(_T("usage: %s from to\n"), argv[0]);
		return 1;
	}
	source = CreateFile(argv[1], GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED | FILE_FLAG_SEQUENTIAL_SCAN, NULL);
	target = CreateFile(argv[2], GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_OVERLAPPED, NULL);
	if (source == INVALID_HANDLE_VALUE || target == INVALID_HANDLE_VALUE) {
		_tprintf(TEXT("cannot open: %lu\n"), GetLastError());
		return 1;
	}
	GetFileSizeEx(source, &size);
	port = CreateIoCompletionPort(source, NULL, CK_READ, 0);
	CreateIoCompletionPort(target, port, CK_WRITE, 0);

	/* "written" to begin with, so that each buffer reads first */
	for (i = 0; i < BUFFERS; i++) {
		requests[i].data = VirtualAlloc(NULL, BUFFSIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
		PostQueuedCompletionStatus(port, 0, CK_WRITE, &requests[i].ov);
		writes++;
	}
	while (reads > 0 || writes > 0) {
		DWORD bytes;
		ULONG_PTR key;
		IOREQ *request;
		if (!GetQueuedCompletionStatus(port, &bytes, &key, (LPOVERLAPPED *)&request, INFINITE)) {
			printf("failed: %lu\n", GetLastError());
			return 2;
		}
		if (key == CK_READ) {
			reads--;
			if (!WriteFile(target, request->data, bytes, NULL, &request->ov) && GetLastError() != ERROR_IO_PENDING)
				return 2;
			writes++;
		} else {
			writes--;
			if (position.QuadPart < size.QuadPart) {
				request->ov.Offset = position.LowPart;
				request->ov.OffsetHigh = position.HighPart;
				position.QuadPart += BUFFSIZE;
				if (!ReadFile(source, request->data, BUFFSIZE, NULL, &request->ov) && GetLastError() != ERROR_IO_PENDING)
					return 2;
				reads++;
			}
		}
	}
	for (i = 0; i < BUFFERS; i++)
		VirtualFree(requests[i].data, 0, MEM_RELEASE);
	CloseHandle(source);
	CloseHandle(target);
	CloseHandle(port);
	return 0;
}
