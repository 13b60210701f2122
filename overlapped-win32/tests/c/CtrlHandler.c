/* Ctrl-C wakes main(), which ends in order. */
#include <windows.h>
#include <stdio.h>

HANDLE hStop;

BOOL WINAPI CtrlHandler(DWORD dwEvent)
{
	switch (dwEvent)
	{
	case CTRL_C_EVENT:
	case CTRL_BREAK_EVENT:
		SetEvent(hStop);
		return TRUE;
	default:
		return FALSE;
	}
}

int main(int argc, char *argv[])
{
	hStop = CreateEvent(NULL, TRUE, FALSE, TEXT("stop"));
	if (!SetConsoleCtrlHandler((PHANDLER_ROUTINE)CtrlHandler, TRUE))
		return 1;
	if (argc > 1)
		GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
	switch (WaitForSingleObject(hStop, 15000))
	{
	case WAIT_OBJECT_0:
		puts("stopped in order");
		return 0;
	default:
		puts("nobody pressed Ctrl-C");
		return 1;
	}
}
