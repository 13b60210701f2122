#!/usr/bin/env bash
# Installs the library, its headers, a pkg-config file, the examples and `ovl`:
#
#     overlapped-win32/install.sh /usr/local            builds first, as `cargo build --release` does
#     overlapped-win32/install.sh PREFIX DIRECTORY      takes what lies in DIRECTORY, where cargo has put it
#
# DESTDIR is put before the prefix, for who makes packages.
set -euo pipefail

prefix=${1:?"usage: overlapped-win32/install.sh PREFIX [DIRECTORY]"}
[[ $prefix == /* ]] || { echo "install.sh: the prefix has to be absolute, not $prefix" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
if [[ $# -gt 1 ]]; then
    built=$(cd "$2" && pwd)
else
    (cd "$here/.." && cargo build --release --locked -p overlapped-win32 -p ovl)
    built=$(cd "${CARGO_TARGET_DIR:-$here/../target}" && pwd)/release
fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../Cargo.toml" | head -n 1)
to=${DESTDIR:-}$prefix
include=$to/include/overlapped-win32
examples=$to/share/doc/overlapped-win32/examples

install -d "$to/bin" "$to/lib/pkgconfig" "$include/ovl" "$examples"
install -m 644 "${here}/include/"*.h "$include"
install -m 644 "${here}/include/ovl/"*.h "$include/ovl"
install -m 644 "${here}/tests/c/"*EchoServ.c "${here}/tests/c/echo_client.c" "$examples"
install -m 644 "$built/liboverlapped_win32.a" "$to/lib"
install -m 755 "$built/liboverlapped_win32.so" "$to/lib"
if [[ -x $built/ovl ]]; then install -m 755 "$built/ovl" "$to/bin"; elif [[ -x $built/../ovl ]]; then install -m 755 "$built/../ovl" "$to/bin"; fi

# The usual spellings, for who does not compile with `ovl cc`, which finds all.
for name in $(<"$here/spellings"); do
    ln -sf "${name,,}.h" "$include/$name.h"
done

sed "s/@VERSION@/$version/" "$here/headers.pc.in" >"$to/lib/pkgconfig/overlapped-win32-headers.pc"
cat >"$to/lib/pkgconfig/overlapped-win32.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib

Name: overlapped-win32
Description: Win32's overlapped I/O, sockets and threads on Linux
Version: $version
Requires: overlapped-win32-headers
Libs: -L\${libdir} -loverlapped_win32
Libs.private: -lpthread -ldl -lm
END
echo "overlapped-win32 $version is in $to"
