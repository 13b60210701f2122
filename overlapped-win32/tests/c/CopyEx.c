/* Copies a file with ReadFileEx and WriteFileEx: four blocks are under way, and all is done in routines. */
#include <windows.h>
#include <stdio.h>

#define BLOCKS 4
#define BLOCK_SIZE 65536

typedef struct {
	OVERLAPPED in, out;
	BYTE data[BLOCK_SIZE];
} BLOCK;

static HANDLE hIn, hOut;
static LARGE_INTEGER size, next;
static int under_way;

VOID CALLBACK ReadDone(DWORD code, DWORD bytes, LPOVERLAPPED ov);
VOID CALLBACK WriteDone(DWORD code, DWORD bytes, LPOVERLAPPED ov);

static void Fail(char *what, DWORD code)
{
	fprintf(stderr, "%s: error %u\n", what, (unsigned)code);
	ExitProcess(2);
}

static void Next(BLOCK *b)
{
	if (next.QuadPart >= size.QuadPart)
		return;
	b->in.Offset = next.LowPart;
	b->in.OffsetHigh = next.HighPart;
	b->in.hEvent = b; /* the program's own, with a routine */
	next.QuadPart += BLOCK_SIZE;
	under_way++;
	if (!ReadFileEx(hIn, b->data, BLOCK_SIZE, &b->in, ReadDone))
		Fail("ReadFileEx", GetLastError());
}

VOID CALLBACK ReadDone(DWORD code, DWORD bytes, LPOVERLAPPED ov)
{
	BLOCK *b = (BLOCK *)ov->hEvent;
	if (code != ERROR_SUCCESS)
		Fail("read", code);
	b->out.Offset = b->in.Offset;
	b->out.OffsetHigh = b->in.OffsetHigh;
	b->out.hEvent = b;
	if (!WriteFileEx(hOut, b->data, bytes, &b->out, WriteDone))
		Fail("WriteFileEx", GetLastError());
}

VOID CALLBACK WriteDone(DWORD code, DWORD bytes, LPOVERLAPPED ov)
{
	(void)bytes;
	if (code != ERROR_SUCCESS)
		Fail("write", code);
	under_way--;
	Next((BLOCK *)ov->hEvent);
}

int main(int argc, char *argv[])
{
	BLOCK *blocks;
	int i;

	if (argc != 3)
		return fprintf(stderr, "usage: CopyEx from to\n"), 1;
	hIn = CreateFile(argv[1], GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
	if (hIn == INVALID_HANDLE_VALUE)
		Fail(argv[1], GetLastError());
	hOut = CreateFile(argv[2], GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OVERLAPPED, NULL);
	if (hOut == INVALID_HANDLE_VALUE)
		Fail(argv[2], GetLastError());
	if (!GetFileSizeEx(hIn, &size))
		Fail("GetFileSizeEx", GetLastError());

	blocks = (BLOCK *)GlobalAlloc(GPTR, BLOCKS * sizeof(BLOCK));
	for (i = 0; i < BLOCKS; i++)
		Next(&blocks[i]);
	while (under_way > 0)
		SleepEx(INFINITE, TRUE);
	printf("%I64d bytes\n", size.QuadPart);
	GlobalFree(blocks);
	CloseHandle(hIn);
	CloseHandle(hOut);
	return 0;
}
