/* Windows.h of overlapped-win32. All of this library's headers lead here, in whatever order they are included. */
#ifndef OVL_WINDOWS_H
#define OVL_WINDOWS_H

#include "ovl/crt.h"
#include "ovl/base.h"
#include "ovl/codes.h"
#include "ovl/kernel.h"
#include "ovl/socket.h"
#include "ovl/elsewhere.h"

#endif
