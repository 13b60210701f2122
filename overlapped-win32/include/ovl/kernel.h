/* What KERNEL32 has, as far as it concerns overlapped I/O and the programs around it. */
#ifndef OVL_KERNEL_H
#define OVL_KERNEL_H

#include "base.h"
#include "codes.h"
#include "text.h"

#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)
#define INFINITE 0xFFFFFFFFu
#define MAXIMUM_WAIT_OBJECTS 64

#define WAIT_OBJECT_0 0u
#define WAIT_ABANDONED 0x80u
#define WAIT_ABANDONED_0 0x80u
#define WAIT_IO_COMPLETION 0xC0u
#define WAIT_FAILED 0xFFFFFFFFu
#define STILL_ACTIVE STATUS_PENDING

#define DELETE 0x00010000u
#define READ_CONTROL 0x00020000u
#define WRITE_DAC 0x00040000u
#define WRITE_OWNER 0x00080000u
#define SYNCHRONIZE 0x00100000u
#define STANDARD_RIGHTS_REQUIRED 0x000F0000u
#define STANDARD_RIGHTS_ALL 0x001F0000u
#define GENERIC_READ 0x80000000u
#define GENERIC_WRITE 0x40000000u
#define GENERIC_EXECUTE 0x20000000u
#define GENERIC_ALL 0x10000000u
#define EVENT_MODIFY_STATE 0x0002
#define EVENT_ALL_ACCESS 0x1F0003
#define MUTEX_MODIFY_STATE 0x0001
#define MUTEX_ALL_ACCESS 0x1F0001
#define SEMAPHORE_MODIFY_STATE 0x0002
#define SEMAPHORE_ALL_ACCESS 0x1F0003
#define THREAD_TERMINATE 0x0001
#define THREAD_SUSPEND_RESUME 0x0002
#define THREAD_SET_CONTEXT 0x0010
#define THREAD_QUERY_INFORMATION 0x0040
#define THREAD_ALL_ACCESS 0x1FFFFF
#define DUPLICATE_CLOSE_SOURCE 0x00000001
#define DUPLICATE_SAME_ACCESS 0x00000002

OVL_BEGIN

/* Handles and errors */
OVL_FN(BOOL, CloseHandle, (HANDLE hObject));
OVL_FN(BOOL, DuplicateHandle,
       (HANDLE hSourceProcessHandle, HANDLE hSourceHandle, HANDLE hTargetProcessHandle, LPHANDLE lpTargetHandle, DWORD dwDesiredAccess,
        BOOL bInheritHandle, DWORD dwOptions));
OVL_FN(BOOL, GetHandleInformation, (HANDLE hObject, LPDWORD lpdwFlags));
OVL_FN(BOOL, SetHandleInformation, (HANDLE hObject, DWORD dwMask, DWORD dwFlags));
#define HANDLE_FLAG_INHERIT 0x00000001
#define HANDLE_FLAG_PROTECT_FROM_CLOSE 0x00000002
OVL_FN(DWORD, GetLastError, (void));
OVL_FN(void, SetLastError, (DWORD dwErrCode));

/* Completion ports */
OVL_FN(HANDLE, CreateIoCompletionPort,
       (HANDLE FileHandle, HANDLE ExistingCompletionPort, ULONG_PTR CompletionKey, DWORD NumberOfConcurrentThreads));
OVL_FN(BOOL, GetQueuedCompletionStatus,
       (HANDLE CompletionPort, LPDWORD lpNumberOfBytesTransferred, PULONG_PTR lpCompletionKey, LPOVERLAPPED *lpOverlapped,
        DWORD dwMilliseconds));
OVL_FN(BOOL, GetQueuedCompletionStatusEx,
       (HANDLE CompletionPort, LPOVERLAPPED_ENTRY lpCompletionPortEntries, ULONG ulCount, PULONG ulNumEntriesRemoved,
        DWORD dwMilliseconds, BOOL fAlertable));
OVL_FN(BOOL, PostQueuedCompletionStatus,
       (HANDLE CompletionPort, DWORD dwNumberOfBytesTransferred, ULONG_PTR dwCompletionKey, LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, SetFileCompletionNotificationModes, (HANDLE FileHandle, UCHAR Flags));
#define FILE_SKIP_COMPLETION_PORT_ON_SUCCESS 0x1
#define FILE_SKIP_SET_EVENT_ON_HANDLE 0x2

/* Overlapped operations */
OVL_FN(BOOL, GetOverlappedResult, (HANDLE hFile, LPOVERLAPPED lpOverlapped, LPDWORD lpNumberOfBytesTransferred, BOOL bWait));
OVL_FN(BOOL, GetOverlappedResultEx,
       (HANDLE hFile, LPOVERLAPPED lpOverlapped, LPDWORD lpNumberOfBytesTransferred, DWORD dwMilliseconds, BOOL bAlertable));
OVL_FN(BOOL, CancelIo, (HANDLE hFile));
OVL_FN(BOOL, CancelIoEx, (HANDLE hFile, LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, CancelSynchronousIo, (HANDLE hThread));
#define HasOverlappedIoCompleted(overlapped) \
    (__atomic_load_n((volatile ULONG_PTR *)&(overlapped)->Internal, __ATOMIC_ACQUIRE) != (ULONG_PTR)STATUS_PENDING)

/* Waits, alertable or not */
typedef VOID(NTAPI *PAPCFUNC)(ULONG_PTR Parameter);
OVL_FN(DWORD, QueueUserAPC, (PAPCFUNC pfnAPC, HANDLE hThread, ULONG_PTR dwData));
OVL_FN(void, Sleep, (DWORD dwMilliseconds));
OVL_FN(DWORD, SleepEx, (DWORD dwMilliseconds, BOOL bAlertable));
OVL_FN(DWORD, WaitForSingleObject, (HANDLE hHandle, DWORD dwMilliseconds));
OVL_FN(DWORD, WaitForSingleObjectEx, (HANDLE hHandle, DWORD dwMilliseconds, BOOL bAlertable));
OVL_FN(DWORD, WaitForMultipleObjects, (DWORD nCount, const HANDLE *lpHandles, BOOL bWaitAll, DWORD dwMilliseconds));
OVL_FN(DWORD, WaitForMultipleObjectsEx,
       (DWORD nCount, const HANDLE *lpHandles, BOOL bWaitAll, DWORD dwMilliseconds, BOOL bAlertable));
OVL_FN(DWORD, SignalObjectAndWait, (HANDLE hObjectToSignal, HANDLE hObjectToWaitOn, DWORD dwMilliseconds, BOOL bAlertable));
OVL_FN(BOOL, SwitchToThread, (void));

/* Events, mutexes, semaphores */
OVL_FN(HANDLE, CreateEventA, (LPSECURITY_ATTRIBUTES lpEventAttributes, BOOL bManualReset, BOOL bInitialState, LPCSTR lpName));
OVL_FN(HANDLE, CreateEventW, (LPSECURITY_ATTRIBUTES lpEventAttributes, BOOL bManualReset, BOOL bInitialState, LPCWSTR lpName));
OVL_FN(HANDLE, OpenEventA, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName));
OVL_FN(HANDLE, OpenEventW, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName));
OVL_FN(BOOL, SetEvent, (HANDLE hEvent));
OVL_FN(BOOL, ResetEvent, (HANDLE hEvent));
OVL_FN(BOOL, PulseEvent, (HANDLE hEvent));
OVL_FN(HANDLE, CreateMutexA, (LPSECURITY_ATTRIBUTES lpMutexAttributes, BOOL bInitialOwner, LPCSTR lpName));
OVL_FN(HANDLE, CreateMutexW, (LPSECURITY_ATTRIBUTES lpMutexAttributes, BOOL bInitialOwner, LPCWSTR lpName));
OVL_FN(HANDLE, OpenMutexA, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName));
OVL_FN(HANDLE, OpenMutexW, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName));
OVL_FN(BOOL, ReleaseMutex, (HANDLE hMutex));
OVL_FN(HANDLE, CreateSemaphoreA,
       (LPSECURITY_ATTRIBUTES lpSemaphoreAttributes, LONG lInitialCount, LONG lMaximumCount, LPCSTR lpName));
OVL_FN(HANDLE, CreateSemaphoreW,
       (LPSECURITY_ATTRIBUTES lpSemaphoreAttributes, LONG lInitialCount, LONG lMaximumCount, LPCWSTR lpName));
OVL_FN(HANDLE, OpenSemaphoreA, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName));
OVL_FN(HANDLE, OpenSemaphoreW, (DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName));
OVL_FN(BOOL, ReleaseSemaphore, (HANDLE hSemaphore, LONG lReleaseCount, PLONG lpPreviousCount));
#define CreateEvent OVL_T(CreateEvent)
#define CreateMutex OVL_T(CreateMutex)
#define CreateSemaphore OVL_T(CreateSemaphore)
#define OpenEvent OVL_T(OpenEvent)
#define OpenMutex OVL_T(OpenMutex)
#define OpenSemaphore OVL_T(OpenSemaphore)

/* Threads */
typedef DWORD(WINAPI *PTHREAD_START_ROUTINE)(LPVOID lpThreadParameter);
typedef PTHREAD_START_ROUTINE LPTHREAD_START_ROUTINE;
OVL_FN(HANDLE, CreateThread,
       (LPSECURITY_ATTRIBUTES lpThreadAttributes, SIZE_T dwStackSize, LPTHREAD_START_ROUTINE lpStartAddress, LPVOID lpParameter,
        DWORD dwCreationFlags, LPDWORD lpThreadId));
#define CREATE_SUSPENDED 0x00000004
#define STACK_SIZE_PARAM_IS_A_RESERVATION 0x00010000
OVL_FN(DWORD, ResumeThread, (HANDLE hThread));
OVL_FN(DWORD, SuspendThread, (HANDLE hThread));
OVL_FN(void, ExitThread, (DWORD dwExitCode)) __attribute__((noreturn));
OVL_FN(BOOL, TerminateThread, (HANDLE hThread, DWORD dwExitCode));
OVL_FN(BOOL, GetExitCodeThread, (HANDLE hThread, LPDWORD lpExitCode));
OVL_FN(HANDLE, GetCurrentThread, (void));
OVL_FN(DWORD, GetCurrentThreadId, (void));
OVL_FN(DWORD, GetThreadId, (HANDLE Thread));
OVL_FN(HANDLE, GetCurrentProcess, (void));
OVL_FN(DWORD, GetCurrentProcessId, (void));
OVL_FN(DWORD, GetCurrentProcessorNumber, (void));
OVL_FN(HANDLE, OpenThread, (DWORD dwDesiredAccess, BOOL bInheritHandle, DWORD dwThreadId));
OVL_FN(DWORD_PTR, SetThreadAffinityMask, (HANDLE hThread, DWORD_PTR dwThreadAffinityMask));
OVL_FN(DWORD, SetThreadIdealProcessor, (HANDLE hThread, DWORD dwIdealProcessor));
#define MAXIMUM_PROCESSORS 64
OVL_FN(BOOL, GetProcessAffinityMask, (HANDLE hProcess, PDWORD_PTR lpProcessAffinityMask, PDWORD_PTR lpSystemAffinityMask));
OVL_FN(BOOL, SetProcessAffinityMask, (HANDLE hProcess, DWORD_PTR dwProcessAffinityMask));
OVL_FN(BOOL, SetThreadPriority, (HANDLE hThread, int nPriority));
OVL_FN(int, GetThreadPriority, (HANDLE hThread));
OVL_FN(HRESULT, SetThreadDescription, (HANDLE hThread, PCWSTR lpThreadDescription));
#define THREAD_PRIORITY_IDLE (-15)
#define THREAD_PRIORITY_LOWEST (-2)
#define THREAD_PRIORITY_BELOW_NORMAL (-1)
#define THREAD_PRIORITY_NORMAL 0
#define THREAD_PRIORITY_ABOVE_NORMAL 1
#define THREAD_PRIORITY_HIGHEST 2
#define THREAD_PRIORITY_TIME_CRITICAL 15
#define THREAD_PRIORITY_ERROR_RETURN MAXLONG
OVL_FN(DWORD, TlsAlloc, (void));
OVL_FN(LPVOID, TlsGetValue, (DWORD dwTlsIndex));
OVL_FN(BOOL, TlsSetValue, (DWORD dwTlsIndex, LPVOID lpTlsValue));
OVL_FN(BOOL, TlsFree, (DWORD dwTlsIndex));
#define TLS_OUT_OF_INDEXES 0xFFFFFFFFu
OVL_FN(void, ExitProcess, (UINT uExitCode)) __attribute__((noreturn));
OVL_FN(BOOL, GetExitCodeProcess, (HANDLE hProcess, LPDWORD lpExitCode));
OVL_FN(BOOL, TerminateProcess, (HANDLE hProcess, UINT uExitCode));

/* Thread pool */
typedef VOID(WINAPI *WAITORTIMERCALLBACK)(PVOID lpParameter, BOOLEAN TimerOrWaitFired);
OVL_FN(BOOL, BindIoCompletionCallback, (HANDLE FileHandle, LPOVERLAPPED_COMPLETION_ROUTINE Function, ULONG Flags));
OVL_FN(BOOL, QueueUserWorkItem, (LPTHREAD_START_ROUTINE Function, PVOID Context, ULONG Flags));
OVL_FN(BOOL, RegisterWaitForSingleObject,
       (PHANDLE phNewWaitObject, HANDLE hObject, WAITORTIMERCALLBACK Callback, PVOID Context, ULONG dwMilliseconds, ULONG dwFlags));
OVL_FN(BOOL, UnregisterWait, (HANDLE WaitHandle));
OVL_FN(BOOL, UnregisterWaitEx, (HANDLE WaitHandle, HANDLE CompletionEvent));
#define WT_EXECUTEDEFAULT 0x00000000
#define WT_EXECUTEINIOTHREAD 0x00000001
#define WT_EXECUTEINWAITTHREAD 0x00000004
#define WT_EXECUTEONLYONCE 0x00000008
#define WT_EXECUTELONGFUNCTION 0x00000010
typedef struct _TP_CALLBACK_INSTANCE TP_CALLBACK_INSTANCE, *PTP_CALLBACK_INSTANCE;
typedef struct _TP_POOL TP_POOL, *PTP_POOL;
typedef struct _TP_CLEANUP_GROUP TP_CLEANUP_GROUP, *PTP_CLEANUP_GROUP;
typedef struct _TP_IO TP_IO, *PTP_IO;
typedef struct _TP_WORK TP_WORK, *PTP_WORK;
typedef struct _TP_TIMER TP_TIMER, *PTP_TIMER;
typedef struct _TP_WAIT TP_WAIT, *PTP_WAIT;
typedef struct _TP_CALLBACK_ENVIRON TP_CALLBACK_ENVIRON, *PTP_CALLBACK_ENVIRON;
typedef DWORD TP_WAIT_RESULT;
typedef VOID(CALLBACK *PTP_WIN32_IO_CALLBACK)(PTP_CALLBACK_INSTANCE Instance, PVOID Context, PVOID Overlapped, ULONG IoResult,
                                              ULONG_PTR NumberOfBytesTransferred, PTP_IO Io);
typedef VOID(CALLBACK *PTP_WORK_CALLBACK)(PTP_CALLBACK_INSTANCE Instance, PVOID Context, PTP_WORK Work);
typedef VOID(CALLBACK *PTP_SIMPLE_CALLBACK)(PTP_CALLBACK_INSTANCE Instance, PVOID Context);
OVL_FN(PTP_IO, CreateThreadpoolIo, (HANDLE fl, PTP_WIN32_IO_CALLBACK pfnio, PVOID pv, PTP_CALLBACK_ENVIRON pcbe));
OVL_FN(void, StartThreadpoolIo, (PTP_IO pio));
OVL_FN(void, CancelThreadpoolIo, (PTP_IO pio));
OVL_FN(void, WaitForThreadpoolIoCallbacks, (PTP_IO pio, BOOL fCancelPendingCallbacks));
OVL_FN(void, CloseThreadpoolIo, (PTP_IO pio));
OVL_FN(PTP_WORK, CreateThreadpoolWork, (PTP_WORK_CALLBACK pfnwk, PVOID pv, PTP_CALLBACK_ENVIRON pcbe));
OVL_FN(void, SubmitThreadpoolWork, (PTP_WORK pwk));
OVL_FN(void, WaitForThreadpoolWorkCallbacks, (PTP_WORK pwk, BOOL fCancelPendingCallbacks));
OVL_FN(void, CloseThreadpoolWork, (PTP_WORK pwk));
OVL_FN(BOOL, TrySubmitThreadpoolCallback, (PTP_SIMPLE_CALLBACK pfns, PVOID pv, PTP_CALLBACK_ENVIRON pcbe));

/* Files */
OVL_FN(HANDLE, CreateFileA,
       (LPCSTR lpFileName, DWORD dwDesiredAccess, DWORD dwShareMode, LPSECURITY_ATTRIBUTES lpSecurityAttributes,
        DWORD dwCreationDisposition, DWORD dwFlagsAndAttributes, HANDLE hTemplateFile));
OVL_FN(HANDLE, CreateFileW,
       (LPCWSTR lpFileName, DWORD dwDesiredAccess, DWORD dwShareMode, LPSECURITY_ATTRIBUTES lpSecurityAttributes,
        DWORD dwCreationDisposition, DWORD dwFlagsAndAttributes, HANDLE hTemplateFile));
OVL_FN(BOOL, ReadFile,
       (HANDLE hFile, LPVOID lpBuffer, DWORD nNumberOfBytesToRead, LPDWORD lpNumberOfBytesRead, LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, WriteFile,
       (HANDLE hFile, LPCVOID lpBuffer, DWORD nNumberOfBytesToWrite, LPDWORD lpNumberOfBytesWritten, LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, ReadFileEx,
       (HANDLE hFile, LPVOID lpBuffer, DWORD nNumberOfBytesToRead, LPOVERLAPPED lpOverlapped,
        LPOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine));
OVL_FN(BOOL, WriteFileEx,
       (HANDLE hFile, LPCVOID lpBuffer, DWORD nNumberOfBytesToWrite, LPOVERLAPPED lpOverlapped,
        LPOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine));
OVL_FN(DWORD, GetFileSize, (HANDLE hFile, LPDWORD lpFileSizeHigh));
OVL_FN(BOOL, GetFileSizeEx, (HANDLE hFile, PLARGE_INTEGER lpFileSize));
OVL_FN(DWORD, GetFileType, (HANDLE hFile));
OVL_FN(DWORD, SetFilePointer, (HANDLE hFile, LONG lDistanceToMove, PLONG lpDistanceToMoveHigh, DWORD dwMoveMethod));
OVL_FN(BOOL, SetFilePointerEx,
       (HANDLE hFile, LARGE_INTEGER liDistanceToMove, PLARGE_INTEGER lpNewFilePointer, DWORD dwMoveMethod));
OVL_FN(BOOL, SetEndOfFile, (HANDLE hFile));
OVL_FN(BOOL, FlushFileBuffers, (HANDLE hFile));
OVL_FN(BOOL, DeleteFileA, (LPCSTR lpFileName));
OVL_FN(BOOL, DeleteFileW, (LPCWSTR lpFileName));
OVL_FN(DWORD, GetTempPathA, (DWORD nBufferLength, LPSTR lpBuffer));
OVL_FN(DWORD, GetTempPathW, (DWORD nBufferLength, LPWSTR lpBuffer));
OVL_FN(UINT, GetTempFileNameA, (LPCSTR lpPathName, LPCSTR lpPrefixString, UINT uUnique, LPSTR lpTempFileName));
OVL_FN(UINT, GetTempFileNameW, (LPCWSTR lpPathName, LPCWSTR lpPrefixString, UINT uUnique, LPWSTR lpTempFileName));
OVL_FN(DWORD, GetFileAttributesA, (LPCSTR lpFileName));
OVL_FN(DWORD, GetFileAttributesW, (LPCWSTR lpFileName));
OVL_FN(BOOL, CreateDirectoryA, (LPCSTR lpPathName, LPSECURITY_ATTRIBUTES lpSecurityAttributes));
OVL_FN(BOOL, CreateDirectoryW, (LPCWSTR lpPathName, LPSECURITY_ATTRIBUTES lpSecurityAttributes));
OVL_FN(BOOL, RemoveDirectoryA, (LPCSTR lpPathName));
OVL_FN(BOOL, RemoveDirectoryW, (LPCWSTR lpPathName));
OVL_FN(BOOL, MoveFileA, (LPCSTR lpExistingFileName, LPCSTR lpNewFileName));
OVL_FN(BOOL, MoveFileW, (LPCWSTR lpExistingFileName, LPCWSTR lpNewFileName));
OVL_FN(BOOL, CopyFileA, (LPCSTR lpExistingFileName, LPCSTR lpNewFileName, BOOL bFailIfExists));
OVL_FN(BOOL, CopyFileW, (LPCWSTR lpExistingFileName, LPCWSTR lpNewFileName, BOOL bFailIfExists));
OVL_FN(DWORD, GetCurrentDirectoryA, (DWORD nBufferLength, LPSTR lpBuffer));
OVL_FN(DWORD, GetCurrentDirectoryW, (DWORD nBufferLength, LPWSTR lpBuffer));
OVL_FN(BOOL, SetCurrentDirectoryA, (LPCSTR lpPathName));
OVL_FN(BOOL, SetCurrentDirectoryW, (LPCWSTR lpPathName));
#define CreateFile OVL_T(CreateFile)
#define DeleteFile OVL_T(DeleteFile)
#define GetTempPath OVL_T(GetTempPath)
#define GetTempFileName OVL_T(GetTempFileName)
#define GetFileAttributes OVL_T(GetFileAttributes)
#define CreateDirectory OVL_T(CreateDirectory)
#define RemoveDirectory OVL_T(RemoveDirectory)
#define MoveFile OVL_T(MoveFile)
#define CopyFile OVL_T(CopyFile)
#define GetCurrentDirectory OVL_T(GetCurrentDirectory)
#define SetCurrentDirectory OVL_T(SetCurrentDirectory)
#define CREATE_NEW 1
#define CREATE_ALWAYS 2
#define OPEN_EXISTING 3
#define OPEN_ALWAYS 4
#define TRUNCATE_EXISTING 5
#define FILE_BEGIN 0
#define FILE_CURRENT 1
#define FILE_END 2
#define INVALID_FILE_SIZE 0xFFFFFFFFu
#define INVALID_SET_FILE_POINTER 0xFFFFFFFFu
#define INVALID_FILE_ATTRIBUTES 0xFFFFFFFFu
#define FILE_SHARE_READ 0x00000001
#define FILE_SHARE_WRITE 0x00000002
#define FILE_SHARE_DELETE 0x00000004
#define FILE_READ_DATA 0x0001
#define FILE_WRITE_DATA 0x0002
#define FILE_APPEND_DATA 0x0004
#define FILE_READ_ATTRIBUTES 0x0080
#define FILE_WRITE_ATTRIBUTES 0x0100
#define FILE_GENERIC_READ 0x00120089
#define FILE_GENERIC_WRITE 0x00120116
#define FILE_ALL_ACCESS 0x001F01FF
#define FILE_ATTRIBUTE_READONLY 0x00000001
#define FILE_ATTRIBUTE_HIDDEN 0x00000002
#define FILE_ATTRIBUTE_SYSTEM 0x00000004
#define FILE_ATTRIBUTE_DIRECTORY 0x00000010
#define FILE_ATTRIBUTE_ARCHIVE 0x00000020
#define FILE_ATTRIBUTE_NORMAL 0x00000080
#define FILE_ATTRIBUTE_TEMPORARY 0x00000100
#define FILE_FLAG_WRITE_THROUGH 0x80000000u
#define FILE_FLAG_OVERLAPPED 0x40000000
#define FILE_FLAG_NO_BUFFERING 0x20000000
#define FILE_FLAG_RANDOM_ACCESS 0x10000000
#define FILE_FLAG_SEQUENTIAL_SCAN 0x08000000
#define FILE_FLAG_DELETE_ON_CLOSE 0x04000000
#define FILE_FLAG_BACKUP_SEMANTICS 0x02000000
#define FILE_FLAG_FIRST_PIPE_INSTANCE 0x00080000
#define FILE_TYPE_UNKNOWN 0x0000
#define FILE_TYPE_DISK 0x0001
#define FILE_TYPE_CHAR 0x0002
#define FILE_TYPE_PIPE 0x0003

/* Pipes, between threads and processes of the same user */
OVL_FN(HANDLE, CreateNamedPipeA,
       (LPCSTR lpName, DWORD dwOpenMode, DWORD dwPipeMode, DWORD nMaxInstances, DWORD nOutBufferSize, DWORD nInBufferSize,
        DWORD nDefaultTimeOut, LPSECURITY_ATTRIBUTES lpSecurityAttributes));
OVL_FN(HANDLE, CreateNamedPipeW,
       (LPCWSTR lpName, DWORD dwOpenMode, DWORD dwPipeMode, DWORD nMaxInstances, DWORD nOutBufferSize, DWORD nInBufferSize,
        DWORD nDefaultTimeOut, LPSECURITY_ATTRIBUTES lpSecurityAttributes));
OVL_FN(BOOL, ConnectNamedPipe, (HANDLE hNamedPipe, LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, DisconnectNamedPipe, (HANDLE hNamedPipe));
OVL_FN(BOOL, WaitNamedPipeA, (LPCSTR lpNamedPipeName, DWORD nTimeOut));
OVL_FN(BOOL, WaitNamedPipeW, (LPCWSTR lpNamedPipeName, DWORD nTimeOut));
OVL_FN(BOOL, CallNamedPipeA,
       (LPCSTR lpNamedPipeName, LPVOID lpInBuffer, DWORD nInBufferSize, LPVOID lpOutBuffer, DWORD nOutBufferSize, LPDWORD lpBytesRead,
        DWORD nTimeOut));
OVL_FN(BOOL, CallNamedPipeW,
       (LPCWSTR lpNamedPipeName, LPVOID lpInBuffer, DWORD nInBufferSize, LPVOID lpOutBuffer, DWORD nOutBufferSize, LPDWORD lpBytesRead,
        DWORD nTimeOut));
OVL_FN(BOOL, TransactNamedPipe,
       (HANDLE hNamedPipe, LPVOID lpInBuffer, DWORD nInBufferSize, LPVOID lpOutBuffer, DWORD nOutBufferSize, LPDWORD lpBytesRead,
        LPOVERLAPPED lpOverlapped));
OVL_FN(BOOL, PeekNamedPipe,
       (HANDLE hNamedPipe, LPVOID lpBuffer, DWORD nBufferSize, LPDWORD lpBytesRead, LPDWORD lpTotalBytesAvail,
        LPDWORD lpBytesLeftThisMessage));
OVL_FN(BOOL, SetNamedPipeHandleState, (HANDLE hNamedPipe, LPDWORD lpMode, LPDWORD lpMaxCollectionCount, LPDWORD lpCollectDataTimeout));
OVL_FN(BOOL, GetNamedPipeHandleStateA,
       (HANDLE hNamedPipe, LPDWORD lpState, LPDWORD lpCurInstances, LPDWORD lpMaxCollectionCount, LPDWORD lpCollectDataTimeout,
        LPSTR lpUserName, DWORD nMaxUserNameSize));
OVL_FN(BOOL, GetNamedPipeHandleStateW,
       (HANDLE hNamedPipe, LPDWORD lpState, LPDWORD lpCurInstances, LPDWORD lpMaxCollectionCount, LPDWORD lpCollectDataTimeout,
        LPWSTR lpUserName, DWORD nMaxUserNameSize));
OVL_FN(BOOL, GetNamedPipeInfo,
       (HANDLE hNamedPipe, LPDWORD lpFlags, LPDWORD lpOutBufferSize, LPDWORD lpInBufferSize, LPDWORD lpMaxInstances));
OVL_FN(BOOL, GetNamedPipeClientProcessId, (HANDLE Pipe, PULONG ClientProcessId));
OVL_FN(BOOL, GetNamedPipeServerProcessId, (HANDLE Pipe, PULONG ServerProcessId));
OVL_FN(BOOL, CreatePipe, (PHANDLE hReadPipe, PHANDLE hWritePipe, LPSECURITY_ATTRIBUTES lpPipeAttributes, DWORD nSize));
#define CreateNamedPipe OVL_T(CreateNamedPipe)
#define WaitNamedPipe OVL_T(WaitNamedPipe)
#define CallNamedPipe OVL_T(CallNamedPipe)
#define GetNamedPipeHandleState OVL_T(GetNamedPipeHandleState)
#define PIPE_ACCESS_INBOUND 0x00000001
#define PIPE_ACCESS_OUTBOUND 0x00000002
#define PIPE_ACCESS_DUPLEX 0x00000003
#define PIPE_CLIENT_END 0x00000000
#define PIPE_SERVER_END 0x00000001
#define PIPE_WAIT 0x00000000
#define PIPE_NOWAIT 0x00000001
#define PIPE_READMODE_BYTE 0x00000000
#define PIPE_READMODE_MESSAGE 0x00000002
#define PIPE_TYPE_BYTE 0x00000000
#define PIPE_TYPE_MESSAGE 0x00000004
#define PIPE_ACCEPT_REMOTE_CLIENTS 0x00000000
#define PIPE_REJECT_REMOTE_CLIENTS 0x00000008
#define PIPE_UNLIMITED_INSTANCES 255
#define NMPWAIT_WAIT_FOREVER 0xffffffffu
#define NMPWAIT_NOWAIT 0x00000001
#define NMPWAIT_USE_DEFAULT_WAIT 0x00000000

/* Critical sections, slim locks, condition variables, one-time initialization */
typedef struct _RTL_CRITICAL_SECTION {
    PVOID DebugInfo;
    LONG LockCount;
    LONG RecursionCount;
    HANDLE OwningThread;
    HANDLE LockSemaphore;
    ULONG_PTR SpinCount;
} RTL_CRITICAL_SECTION, CRITICAL_SECTION, *PCRITICAL_SECTION, *LPCRITICAL_SECTION;
OVL_FN(void, InitializeCriticalSection, (LPCRITICAL_SECTION lpCriticalSection));
OVL_FN(BOOL, InitializeCriticalSectionAndSpinCount, (LPCRITICAL_SECTION lpCriticalSection, DWORD dwSpinCount));
OVL_FN(BOOL, InitializeCriticalSectionEx, (LPCRITICAL_SECTION lpCriticalSection, DWORD dwSpinCount, DWORD Flags));
OVL_FN(DWORD, SetCriticalSectionSpinCount, (LPCRITICAL_SECTION lpCriticalSection, DWORD dwSpinCount));
OVL_FN(void, EnterCriticalSection, (LPCRITICAL_SECTION lpCriticalSection));
OVL_FN(BOOL, TryEnterCriticalSection, (LPCRITICAL_SECTION lpCriticalSection));
OVL_FN(void, LeaveCriticalSection, (LPCRITICAL_SECTION lpCriticalSection));
OVL_FN(void, DeleteCriticalSection, (LPCRITICAL_SECTION lpCriticalSection));
#define CRITICAL_SECTION_NO_DEBUG_INFO 0x01000000
typedef struct _RTL_SRWLOCK {
    PVOID Ptr;
} RTL_SRWLOCK, SRWLOCK, *PSRWLOCK;
#define SRWLOCK_INIT {0}
OVL_FN(void, InitializeSRWLock, (PSRWLOCK SRWLock));
OVL_FN(void, AcquireSRWLockExclusive, (PSRWLOCK SRWLock));
OVL_FN(void, AcquireSRWLockShared, (PSRWLOCK SRWLock));
OVL_FN(void, ReleaseSRWLockExclusive, (PSRWLOCK SRWLock));
OVL_FN(void, ReleaseSRWLockShared, (PSRWLOCK SRWLock));
OVL_FN(BOOLEAN, TryAcquireSRWLockExclusive, (PSRWLOCK SRWLock));
OVL_FN(BOOLEAN, TryAcquireSRWLockShared, (PSRWLOCK SRWLock));
typedef struct _RTL_CONDITION_VARIABLE {
    PVOID Ptr;
} RTL_CONDITION_VARIABLE, CONDITION_VARIABLE, *PCONDITION_VARIABLE;
#define CONDITION_VARIABLE_INIT {0}
#define CONDITION_VARIABLE_LOCKMODE_SHARED 0x1
OVL_FN(void, InitializeConditionVariable, (PCONDITION_VARIABLE ConditionVariable));
OVL_FN(BOOL, SleepConditionVariableCS,
       (PCONDITION_VARIABLE ConditionVariable, PCRITICAL_SECTION CriticalSection, DWORD dwMilliseconds));
OVL_FN(BOOL, SleepConditionVariableSRW,
       (PCONDITION_VARIABLE ConditionVariable, PSRWLOCK SRWLock, DWORD dwMilliseconds, ULONG Flags));
OVL_FN(void, WakeConditionVariable, (PCONDITION_VARIABLE ConditionVariable));
OVL_FN(void, WakeAllConditionVariable, (PCONDITION_VARIABLE ConditionVariable));
typedef union _RTL_RUN_ONCE {
    PVOID Ptr;
} RTL_RUN_ONCE, INIT_ONCE, *PINIT_ONCE, *LPINIT_ONCE;
#define INIT_ONCE_STATIC_INIT {0}
typedef BOOL(WINAPI *PINIT_ONCE_FN)(PINIT_ONCE InitOnce, PVOID Parameter, PVOID *Context);
OVL_FN(void, InitOnceInitialize, (PINIT_ONCE InitOnce));
OVL_FN(BOOL, InitOnceExecuteOnce, (PINIT_ONCE InitOnce, PINIT_ONCE_FN InitFn, PVOID Parameter, LPVOID *Context));
typedef union __attribute__((aligned(16))) _SLIST_HEADER {
    ULONGLONG Region[2];
} SLIST_HEADER, *PSLIST_HEADER;
typedef struct __attribute__((aligned(16))) _SLIST_ENTRY {
    struct _SLIST_ENTRY *Next;
} SLIST_ENTRY, *PSLIST_ENTRY;
OVL_FN(void, InitializeSListHead, (PSLIST_HEADER ListHead));
OVL_FN(PSLIST_ENTRY, InterlockedPushEntrySList, (PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry));
OVL_FN(PSLIST_ENTRY, InterlockedPopEntrySList, (PSLIST_HEADER ListHead));
OVL_FN(PSLIST_ENTRY, InterlockedFlushSList, (PSLIST_HEADER ListHead));
OVL_FN(USHORT, QueryDepthSList, (PSLIST_HEADER ListHead));

/* Time */
OVL_FN(DWORD, GetTickCount, (void));
OVL_FN(ULONGLONG, GetTickCount64, (void));
OVL_FN(BOOL, QueryPerformanceCounter, (LARGE_INTEGER *lpPerformanceCount));
OVL_FN(BOOL, QueryPerformanceFrequency, (LARGE_INTEGER *lpFrequency));
OVL_FN(void, GetSystemTime, (LPSYSTEMTIME lpSystemTime));
OVL_FN(void, GetLocalTime, (LPSYSTEMTIME lpSystemTime));
OVL_FN(void, GetSystemTimeAsFileTime, (LPFILETIME lpSystemTimeAsFileTime));
OVL_FN(void, GetSystemTimePreciseAsFileTime, (LPFILETIME lpSystemTimeAsFileTime));
OVL_FN(BOOL, FileTimeToSystemTime, (const FILETIME *lpFileTime, LPSYSTEMTIME lpSystemTime));
OVL_FN(BOOL, SystemTimeToFileTime, (const SYSTEMTIME *lpSystemTime, LPFILETIME lpFileTime));
OVL_FN(BOOL, FileTimeToLocalFileTime, (const FILETIME *lpFileTime, LPFILETIME lpLocalFileTime));
OVL_FN(LONG, CompareFileTime, (const FILETIME *lpFileTime1, const FILETIME *lpFileTime2));
OVL_FN(BOOL, GetProcessTimes,
       (HANDLE hProcess, LPFILETIME lpCreationTime, LPFILETIME lpExitTime, LPFILETIME lpKernelTime, LPFILETIME lpUserTime));
OVL_FN(DWORD, timeGetTime, (void));
OVL_FN(UINT, timeBeginPeriod, (UINT uPeriod));
OVL_FN(UINT, timeEndPeriod, (UINT uPeriod));

/* The system */
typedef struct _SYSTEM_INFO {
    __extension__ union {
        DWORD dwOemId;
        __extension__ struct {
            WORD wProcessorArchitecture;
            WORD wReserved;
        };
    };
    DWORD dwPageSize;
    LPVOID lpMinimumApplicationAddress;
    LPVOID lpMaximumApplicationAddress;
    DWORD_PTR dwActiveProcessorMask;
    DWORD dwNumberOfProcessors;
    DWORD dwProcessorType;
    DWORD dwAllocationGranularity;
    WORD wProcessorLevel;
    WORD wProcessorRevision;
} SYSTEM_INFO, *LPSYSTEM_INFO;
#define PROCESSOR_ARCHITECTURE_INTEL 0
#define PROCESSOR_ARCHITECTURE_AMD64 9
#define PROCESSOR_ARCHITECTURE_ARM64 12
OVL_FN(void, GetSystemInfo, (LPSYSTEM_INFO lpSystemInfo));
OVL_FN(void, GetNativeSystemInfo, (LPSYSTEM_INFO lpSystemInfo));
OVL_FN(BOOL, GetComputerNameA, (LPSTR lpBuffer, LPDWORD nSize));
OVL_FN(BOOL, GetComputerNameW, (LPWSTR lpBuffer, LPDWORD nSize));
#define GetComputerName OVL_T(GetComputerName)
#define MAX_COMPUTERNAME_LENGTH 15
OVL_FN(DWORD, GetModuleFileNameA, (HMODULE hModule, LPSTR lpFilename, DWORD nSize));
OVL_FN(DWORD, GetModuleFileNameW, (HMODULE hModule, LPWSTR lpFilename, DWORD nSize));
#define GetModuleFileName OVL_T(GetModuleFileName)
OVL_FN(HMODULE, GetModuleHandleA, (LPCSTR lpModuleName));
OVL_FN(HMODULE, GetModuleHandleW, (LPCWSTR lpModuleName));
#define GetModuleHandle OVL_T(GetModuleHandle)
OVL_FN(LPSTR, GetCommandLineA, (void));
OVL_FN(LPWSTR, GetCommandLineW, (void));
#define GetCommandLine OVL_T(GetCommandLine)
OVL_FN(DWORD, GetEnvironmentVariableA, (LPCSTR lpName, LPSTR lpBuffer, DWORD nSize));
OVL_FN(DWORD, GetEnvironmentVariableW, (LPCWSTR lpName, LPWSTR lpBuffer, DWORD nSize));
OVL_FN(BOOL, SetEnvironmentVariableA, (LPCSTR lpName, LPCSTR lpValue));
OVL_FN(BOOL, SetEnvironmentVariableW, (LPCWSTR lpName, LPCWSTR lpValue));
#define GetEnvironmentVariable OVL_T(GetEnvironmentVariable)
#define SetEnvironmentVariable OVL_T(SetEnvironmentVariable)
OVL_FN(BOOL, IsDebuggerPresent, (void));
OVL_FN(void, OutputDebugStringA, (LPCSTR lpOutputString));
OVL_FN(void, OutputDebugStringW, (LPCWSTR lpOutputString));
OVL_FN(void, DebugBreak, (void));
#define OutputDebugString OVL_T(OutputDebugString)

/* Memory */
OVL_FN(HANDLE, GetProcessHeap, (void));
OVL_FN(HANDLE, HeapCreate, (DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize));
OVL_FN(BOOL, HeapDestroy, (HANDLE hHeap));
OVL_FN(LPVOID, HeapAlloc, (HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes));
OVL_FN(LPVOID, HeapReAlloc, (HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes));
OVL_FN(BOOL, HeapFree, (HANDLE hHeap, DWORD dwFlags, LPVOID lpMem));
OVL_FN(SIZE_T, HeapSize, (HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem));
#define HEAP_NO_SERIALIZE 0x00000001
#define HEAP_GENERATE_EXCEPTIONS 0x00000004
#define HEAP_ZERO_MEMORY 0x00000008
#define HEAP_REALLOC_IN_PLACE_ONLY 0x00000010
OVL_FN(HGLOBAL, GlobalAlloc, (UINT uFlags, SIZE_T dwBytes));
OVL_FN(HGLOBAL, GlobalReAlloc, (HGLOBAL hMem, SIZE_T dwBytes, UINT uFlags));
OVL_FN(HGLOBAL, GlobalFree, (HGLOBAL hMem));
OVL_FN(LPVOID, GlobalLock, (HGLOBAL hMem));
OVL_FN(BOOL, GlobalUnlock, (HGLOBAL hMem));
OVL_FN(SIZE_T, GlobalSize, (HGLOBAL hMem));
OVL_FN(HLOCAL, LocalAlloc, (UINT uFlags, SIZE_T uBytes));
OVL_FN(HLOCAL, LocalReAlloc, (HLOCAL hMem, SIZE_T uBytes, UINT uFlags));
OVL_FN(HLOCAL, LocalFree, (HLOCAL hMem));
#define GMEM_FIXED 0x0000
#define GMEM_MOVEABLE 0x0002
#define GMEM_ZEROINIT 0x0040
#define GPTR 0x0040
#define GHND 0x0042
#define LMEM_FIXED 0x0000
#define LMEM_MOVEABLE 0x0002
#define LMEM_ZEROINIT 0x0040
#define LPTR 0x0040
#define LHND 0x0042
OVL_FN(LPVOID, VirtualAlloc, (LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect));
OVL_FN(BOOL, VirtualFree, (LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType));
OVL_FN(BOOL, VirtualProtect, (LPVOID lpAddress, SIZE_T dwSize, DWORD flNewProtect, PDWORD lpflOldProtect));
OVL_FN(BOOL, VirtualLock, (LPVOID lpAddress, SIZE_T dwSize));
OVL_FN(BOOL, VirtualUnlock, (LPVOID lpAddress, SIZE_T dwSize));
#define PAGE_NOACCESS 0x01
#define PAGE_READONLY 0x02
#define PAGE_READWRITE 0x04
#define PAGE_EXECUTE 0x10
#define PAGE_EXECUTE_READ 0x20
#define PAGE_EXECUTE_READWRITE 0x40
#define MEM_COMMIT 0x00001000
#define MEM_RESERVE 0x00002000
#define MEM_DECOMMIT 0x00004000
#define MEM_RELEASE 0x00008000
#define MEM_TOP_DOWN 0x00100000
#define RtlZeroMemory(to, bytes) memset((to), 0, (bytes))
#define RtlFillMemory(to, bytes, value) memset((to), (value), (bytes))
#define RtlCopyMemory(to, from, bytes) memcpy((to), (from), (bytes))
#define RtlMoveMemory(to, from, bytes) memmove((to), (from), (bytes))
#define RtlEqualMemory(a, b, bytes) (memcmp((a), (b), (bytes)) == 0)
#define ZeroMemory RtlZeroMemory
#define FillMemory RtlFillMemory
#define CopyMemory RtlCopyMemory
#define MoveMemory RtlMoveMemory
OVL_FN(PVOID, SecureZeroMemory, (PVOID ptr, SIZE_T cnt));

/* The texts of error codes */
OVL_FN(DWORD, FormatMessageA,
       (DWORD dwFlags, LPCVOID lpSource, DWORD dwMessageId, DWORD dwLanguageId, LPSTR lpBuffer, DWORD nSize, va_list *Arguments));
OVL_FN(DWORD, FormatMessageW,
       (DWORD dwFlags, LPCVOID lpSource, DWORD dwMessageId, DWORD dwLanguageId, LPWSTR lpBuffer, DWORD nSize, va_list *Arguments));
#define FormatMessage OVL_T(FormatMessage)
#define FORMAT_MESSAGE_ALLOCATE_BUFFER 0x00000100
#define FORMAT_MESSAGE_IGNORE_INSERTS 0x00000200
#define FORMAT_MESSAGE_FROM_STRING 0x00000400
#define FORMAT_MESSAGE_FROM_HMODULE 0x00000800
#define FORMAT_MESSAGE_FROM_SYSTEM 0x00001000
#define FORMAT_MESSAGE_ARGUMENT_ARRAY 0x00002000
#define FORMAT_MESSAGE_MAX_WIDTH_MASK 0x000000FF
#define LANG_NEUTRAL 0x00
#define LANG_ENGLISH 0x09
#define SUBLANG_NEUTRAL 0x00
#define SUBLANG_DEFAULT 0x01
#define SUBLANG_SYS_DEFAULT 0x02
#define SUBLANG_ENGLISH_US 0x01
#define MAKELANGID(primary, sub) ((WORD)((((WORD)(sub)) << 10) | (WORD)(primary)))
#define LANG_SYSTEM_DEFAULT MAKELANGID(LANG_NEUTRAL, SUBLANG_SYS_DEFAULT)
#define LANG_USER_DEFAULT MAKELANGID(LANG_NEUTRAL, SUBLANG_DEFAULT)

/* Text in other encodings */
OVL_FN(int, MultiByteToWideChar,
       (UINT CodePage, DWORD dwFlags, LPCSTR lpMultiByteStr, int cbMultiByte, LPWSTR lpWideCharStr, int cchWideChar));
OVL_FN(int, WideCharToMultiByte,
       (UINT CodePage, DWORD dwFlags, LPCWSTR lpWideCharStr, int cchWideChar, LPSTR lpMultiByteStr, int cbMultiByte, LPCSTR lpDefaultChar,
        LPBOOL lpUsedDefaultChar));
#define CP_ACP 0
#define CP_OEMCP 1
#define CP_THREAD_ACP 3
#define CP_UTF7 65000
#define CP_UTF8 65001
#define MB_PRECOMPOSED 0x00000001
#define MB_ERR_INVALID_CHARS 0x00000008
#define WC_ERR_INVALID_CHARS 0x00000080
OVL_FN(int, lstrlenA, (LPCSTR lpString));
OVL_FN(int, lstrlenW, (LPCWSTR lpString));
OVL_FN(LPSTR, lstrcpyA, (LPSTR lpString1, LPCSTR lpString2));
OVL_FN(LPWSTR, lstrcpyW, (LPWSTR lpString1, LPCWSTR lpString2));
OVL_FN(LPSTR, lstrcpynA, (LPSTR lpString1, LPCSTR lpString2, int iMaxLength));
OVL_FN(LPWSTR, lstrcpynW, (LPWSTR lpString1, LPCWSTR lpString2, int iMaxLength));
OVL_FN(LPSTR, lstrcatA, (LPSTR lpString1, LPCSTR lpString2));
OVL_FN(LPWSTR, lstrcatW, (LPWSTR lpString1, LPCWSTR lpString2));
OVL_FN(int, lstrcmpA, (LPCSTR lpString1, LPCSTR lpString2));
OVL_FN(int, lstrcmpW, (LPCWSTR lpString1, LPCWSTR lpString2));
OVL_FN(int, lstrcmpiA, (LPCSTR lpString1, LPCSTR lpString2));
OVL_FN(int, lstrcmpiW, (LPCWSTR lpString1, LPCWSTR lpString2));
#define lstrlen OVL_T(lstrlen)
#define lstrcpy OVL_T(lstrcpy)
#define lstrcpyn OVL_T(lstrcpyn)
#define lstrcat OVL_T(lstrcat)
#define lstrcmp OVL_T(lstrcmp)
#define lstrcmpi OVL_T(lstrcmpi)

/* The console */
typedef BOOL(WINAPI *PHANDLER_ROUTINE)(DWORD CtrlType);
OVL_FN(BOOL, SetConsoleCtrlHandler, (PHANDLER_ROUTINE HandlerRoutine, BOOL Add));
OVL_FN(BOOL, GenerateConsoleCtrlEvent, (DWORD dwCtrlEvent, DWORD dwProcessGroupId));
#define CTRL_C_EVENT 0
#define CTRL_BREAK_EVENT 1
#define CTRL_CLOSE_EVENT 2
#define CTRL_LOGOFF_EVENT 5
#define CTRL_SHUTDOWN_EVENT 6
typedef struct _COORD {
    SHORT X;
    SHORT Y;
} COORD, *PCOORD;
typedef struct _SMALL_RECT {
    SHORT Left;
    SHORT Top;
    SHORT Right;
    SHORT Bottom;
} SMALL_RECT, *PSMALL_RECT;
OVL_FN(HANDLE, GetStdHandle, (DWORD nStdHandle));
#define STD_INPUT_HANDLE ((DWORD)-10)
#define STD_OUTPUT_HANDLE ((DWORD)-11)
#define STD_ERROR_HANDLE ((DWORD)-12)
OVL_FN(BOOL, SetConsoleTitleA, (LPCSTR lpConsoleTitle));
OVL_FN(BOOL, SetConsoleTitleW, (LPCWSTR lpConsoleTitle));
OVL_FN(BOOL, SetConsoleTextAttribute, (HANDLE hConsoleOutput, WORD wAttributes));
OVL_FN(BOOL, SetConsoleCursorPosition, (HANDLE hConsoleOutput, COORD dwCursorPosition));
OVL_FN(BOOL, SetConsoleOutputCP, (UINT wCodePageID));
OVL_FN(BOOL, SetConsoleCP, (UINT wCodePageID));
OVL_FN(UINT, GetConsoleOutputCP, (void));
OVL_FN(BOOL, GetConsoleMode, (HANDLE hConsoleHandle, LPDWORD lpMode));
OVL_FN(BOOL, SetConsoleMode, (HANDLE hConsoleHandle, DWORD dwMode));
OVL_FN(BOOL, WriteConsoleA,
       (HANDLE hConsoleOutput, const VOID *lpBuffer, DWORD nNumberOfCharsToWrite, LPDWORD lpNumberOfCharsWritten, LPVOID lpReserved));
OVL_FN(BOOL, WriteConsoleW,
       (HANDLE hConsoleOutput, const VOID *lpBuffer, DWORD nNumberOfCharsToWrite, LPDWORD lpNumberOfCharsWritten, LPVOID lpReserved));
#define SetConsoleTitle OVL_T(SetConsoleTitle)
#define WriteConsole OVL_T(WriteConsole)
#define FOREGROUND_BLUE 0x0001
#define FOREGROUND_GREEN 0x0002
#define FOREGROUND_RED 0x0004
#define FOREGROUND_INTENSITY 0x0008
#define BACKGROUND_BLUE 0x0010
#define BACKGROUND_GREEN 0x0020
#define BACKGROUND_RED 0x0040
#define BACKGROUND_INTENSITY 0x0080
#define ENABLE_PROCESSED_INPUT 0x0001
#define ENABLE_LINE_INPUT 0x0002
#define ENABLE_ECHO_INPUT 0x0004
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 0x0004

/* Structured exceptions are not raised here; see ovl/words.h. */
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)
#define GetExceptionCode() ((DWORD)0)
#define _exception_code() ((DWORD)0)
#define AbnormalTermination() FALSE
#define SEM_FAILCRITICALERRORS 0x0001
#define SEM_NOGPFAULTERRORBOX 0x0002
OVL_FN(UINT, SetErrorMode, (UINT uMode));

OVL_END

/* Interlocked functions: for LONG, and for `long` as well, which is wider here than there. */
#define ovl_xchg(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#if defined(__cplusplus)
extern "C++" {
#define OVL_INTERLOCKED(type) \
    static inline type InterlockedIncrement(type volatile *p) { return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedDecrement(type volatile *p) { return __atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedExchange(type volatile *p, type v) { return ovl_xchg(p, v); } \
    static inline type InterlockedExchangeAdd(type volatile *p, type v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedAdd(type volatile *p, type v) { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedAnd(type volatile *p, type v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedOr(type volatile *p, type v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedXor(type volatile *p, type v) { return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST); } \
    static inline type InterlockedCompareExchange(type volatile *p, type v, type expected) \
    { \
        __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        return expected; \
    }
OVL_INTERLOCKED(int)
OVL_INTERLOCKED(unsigned int)
OVL_INTERLOCKED(long)
OVL_INTERLOCKED(unsigned long)
__extension__ OVL_INTERLOCKED(long long)
__extension__ OVL_INTERLOCKED(unsigned long long)
#undef OVL_INTERLOCKED
}
#else
#define InterlockedIncrement(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define InterlockedDecrement(p) __atomic_sub_fetch((p), 1, __ATOMIC_SEQ_CST)
#define InterlockedExchange(p, v) ovl_xchg(p, v)
#define InterlockedExchangeAdd(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedAdd(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedAnd(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedOr(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedXor(p, v) __atomic_fetch_xor((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedCompareExchange(p, v, e) \
    __extension__({ \
        __typeof__(__atomic_load_n((p), __ATOMIC_RELAXED)) ovl_expected = (e); \
        __atomic_compare_exchange_n((p), &ovl_expected, (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        ovl_expected; \
    })
#endif
#define InterlockedIncrement64 InterlockedIncrement
#define InterlockedDecrement64 InterlockedDecrement
#define InterlockedExchange64 InterlockedExchange
#define InterlockedExchangeAdd64 InterlockedExchangeAdd
#define InterlockedAdd64 InterlockedAdd
#define InterlockedCompareExchange64 InterlockedCompareExchange
#define InterlockedExchangeSubtract(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define _InterlockedIncrement InterlockedIncrement
#define _InterlockedDecrement InterlockedDecrement
#define _InterlockedExchange InterlockedExchange
#define _InterlockedExchangeAdd InterlockedExchangeAdd
#define _InterlockedCompareExchange InterlockedCompareExchange
static __inline__ __attribute__((unused)) PVOID InterlockedExchangePointer(PVOID volatile *p, PVOID v)
{
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
}
static __inline__ __attribute__((unused)) PVOID InterlockedCompareExchangePointer(PVOID volatile *p, PVOID v, PVOID expected)
{
    __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}
#define MemoryBarrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define _ReadWriteBarrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#if defined(__x86_64__)
#define YieldProcessor() __builtin_ia32_pause()
#else
#define YieldProcessor() __asm__ volatile("yield" ::: "memory")
#endif

#endif
