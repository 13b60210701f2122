// What the sources of this directory include as "..\c\Shared.h".
#pragma once
#define WIN32_LEAN_AND_MEAN
#include <WinSock2.h>
#include <Ws2tcpip.h>
#include <Windows.h>
#include <objbase.h>
#include <process.h>
#include <stdio.h>
