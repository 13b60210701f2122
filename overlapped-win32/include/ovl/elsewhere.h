/* What is not there: windows, the registry, services, messages for sockets. Headers and types are, so that programs which only mention
 * them compile; a call is an error that names the function. */
#ifndef OVL_ELSEWHERE_H
#define OVL_ELSEWHERE_H

#include "base.h"

#define WM_USER 0x0400
#define WM_QUIT 0x0012
#define MB_OK 0x00000000
#define MB_ICONERROR 0x00000010
#define MB_ICONINFORMATION 0x00000040
#define HKEY_CLASSES_ROOT ((HKEY)(ULONG_PTR)0x80000000)
#define HKEY_CURRENT_USER ((HKEY)(ULONG_PTR)0x80000001)
#define HKEY_LOCAL_MACHINE ((HKEY)(ULONG_PTR)0x80000002)
typedef struct tagPOINT {
    LONG x;
    LONG y;
} POINT, *PPOINT;
typedef struct tagMSG {
    HWND hwnd;
    UINT message;
    WPARAM wParam;
    LPARAM lParam;
    DWORD time;
    POINT pt;
} MSG, *PMSG, *LPMSG;
typedef LRESULT(CALLBACK *WNDPROC)(HWND, UINT, WPARAM, LPARAM);

OVL_BEGIN

#define OVL_NO_WINDOWS "there are no windows and no messages; use an event, a completion routine or a port"
#define OVL_NO_REGISTRY "there is no registry; use a file or the environment"
#define OVL_NO_SERVICES "there are no services; let systemd run the program"
#define OVL_NO_MESSAGES "sockets have no window messages; use WSAEventSelect"
OVL_NO(WSAAsyncSelect, OVL_NO_MESSAGES);
OVL_NO(WSAAsyncGetHostByName, OVL_NO_MESSAGES);
OVL_NO(WSAAsyncGetHostByAddr, OVL_NO_MESSAGES);
OVL_NO(WSACancelAsyncRequest, OVL_NO_MESSAGES);
OVL_NO(MessageBoxA, OVL_NO_WINDOWS);
OVL_NO(MessageBoxW, OVL_NO_WINDOWS);
OVL_NO(CreateWindowExA, OVL_NO_WINDOWS);
OVL_NO(CreateWindowExW, OVL_NO_WINDOWS);
OVL_NO(DestroyWindow, OVL_NO_WINDOWS);
OVL_NO(ShowWindow, OVL_NO_WINDOWS);
OVL_NO(UpdateWindow, OVL_NO_WINDOWS);
OVL_NO(RegisterClassA, OVL_NO_WINDOWS);
OVL_NO(RegisterClassExA, OVL_NO_WINDOWS);
OVL_NO(DefWindowProcA, OVL_NO_WINDOWS);
OVL_NO(GetMessageA, OVL_NO_WINDOWS);
OVL_NO(PeekMessageA, OVL_NO_WINDOWS);
OVL_NO(DispatchMessageA, OVL_NO_WINDOWS);
OVL_NO(TranslateMessage, OVL_NO_WINDOWS);
OVL_NO(PostMessageA, OVL_NO_WINDOWS);
OVL_NO(SendMessageA, OVL_NO_WINDOWS);
OVL_NO(PostThreadMessageA, OVL_NO_WINDOWS);
OVL_NO(PostQuitMessage, OVL_NO_WINDOWS);
OVL_NO(MsgWaitForMultipleObjects, OVL_NO_WINDOWS);
OVL_NO(MsgWaitForMultipleObjectsEx, OVL_NO_WINDOWS);
OVL_NO(LoadIconA, OVL_NO_WINDOWS);
OVL_NO(LoadCursorA, OVL_NO_WINDOWS);
OVL_NO(SetTimer, OVL_NO_WINDOWS);
OVL_NO(KillTimer, OVL_NO_WINDOWS);
OVL_NO(GetConsoleWindow, OVL_NO_WINDOWS);
OVL_NO(RegOpenKeyExA, OVL_NO_REGISTRY);
OVL_NO(RegCreateKeyExA, OVL_NO_REGISTRY);
OVL_NO(RegQueryValueExA, OVL_NO_REGISTRY);
OVL_NO(RegSetValueExA, OVL_NO_REGISTRY);
OVL_NO(RegDeleteKeyA, OVL_NO_REGISTRY);
OVL_NO(RegCloseKey, OVL_NO_REGISTRY);
OVL_NO(OpenSCManagerA, OVL_NO_SERVICES);
OVL_NO(OpenServiceA, OVL_NO_SERVICES);
OVL_NO(CreateServiceA, OVL_NO_SERVICES);
OVL_NO(StartServiceA, OVL_NO_SERVICES);
OVL_NO(ControlService, OVL_NO_SERVICES);
OVL_NO(DeleteService, OVL_NO_SERVICES);
OVL_NO(CloseServiceHandle, OVL_NO_SERVICES);
OVL_NO(StartServiceCtrlDispatcherA, OVL_NO_SERVICES);
OVL_NO(RegisterServiceCtrlHandlerA, OVL_NO_SERVICES);
OVL_NO(SetServiceStatus, OVL_NO_SERVICES);
OVL_NO(ImpersonateNamedPipeClient, "both ends of a pipe are the same user's");
OVL_NO(CreateProcessA, "use posix_spawn or fork");
OVL_NO(CreateProcessW, "use posix_spawn or fork");
OVL_NO(LoadLibraryA, "use dlopen");
OVL_NO(LoadLibraryW, "use dlopen");
OVL_NO(GetProcAddress, "use dlsym; extension functions of sockets come from WSAIoctl");
OVL_NO(FreeLibrary, "use dlclose");
OVL_NO(CreateFileMappingA, "use mmap");
OVL_NO(MapViewOfFile, "use mmap");
OVL_NO(CreateWaitableTimerA, "wait with a time limit, or in a thread of its own");
OVL_NO(ReadDirectoryChangesW, "use inotify");
OVL_NO(DeviceIoControl, "there are no device drivers of Windows'");
OVL_NO(WSAEnumProtocolsA, "the protocols are TCP and UDP, over IPv4 and IPv6");
OVL_NO(WSAJoinLeaf, "use setsockopt(IP_ADD_MEMBERSHIP)");
OVL_NO(RIOCreateCompletionQueue, "registered I/O is not there; use a completion port");

OVL_END

#define MessageBox MessageBoxA
#define CreateWindowEx CreateWindowExA
#define CreateWindow CreateWindowExA
#define RegisterClass RegisterClassA
#define RegisterClassEx RegisterClassExA
#define DefWindowProc DefWindowProcA
#define GetMessage GetMessageA
#define PeekMessage PeekMessageA
#define DispatchMessage DispatchMessageA
#define PostMessage PostMessageA
#define SendMessage SendMessageA
#define PostThreadMessage PostThreadMessageA
#define LoadIcon LoadIconA
#define LoadCursor LoadCursorA
#define RegOpenKeyEx RegOpenKeyExA
#define RegCreateKeyEx RegCreateKeyExA
#define RegQueryValueEx RegQueryValueExA
#define RegSetValueEx RegSetValueExA
#define OpenSCManager OpenSCManagerA
#define OpenService OpenServiceA
#define CreateService CreateServiceA
#define StartService StartServiceA
#define StartServiceCtrlDispatcher StartServiceCtrlDispatcherA
#define RegisterServiceCtrlHandler RegisterServiceCtrlHandlerA
#define CreateProcess CreateProcessA
#define LoadLibrary LoadLibraryA
#define CreateFileMapping CreateFileMappingA
#define CreateWaitableTimer CreateWaitableTimerA

#endif
