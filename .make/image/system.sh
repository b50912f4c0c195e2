#!/bin/sh
# Puts the root file system of an image together in the folder $1: Python and the libraries it needs, taken from Debian
# packages as they are. No shell, no package manager, no compiler, no pip gets in.
# Run by the stage `system` of proxy/Dockerfile and operator/Dockerfile, on Debian 12 ("bookworm").
set -eu
root=$1

export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends ca-certificates python3 python3-venv

packages="base-files gcc-12-base libbz2-1.0 libc6 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal
    libpython3.11-stdlib libssl3 libstdc++6 libuuid1 python3.11-minimal zlib1g"
mkdir -p /build/packages "$root"
cd /build/packages
# shellcheck disable=SC2086 # a list of names
apt-get -o APT::Sandbox::User=root download $packages

# Debian 12 has merged /usr; packages still name /lib. The links come first, and tar goes through them.
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/usr/sbin" "$root/var/lib/dpkg/status.d"
for name in bin lib lib64 sbin; do
    ln -s "usr/$name" "$root/$name"
done
for package in *.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$root" \
        --exclude='./usr/share/man/*' --exclude='./usr/share/lintian/*' --exclude='./usr/share/g[cd]*' --exclude='./usr/lib/*/gconv/*' \
        --exclude='./usr/share/base-files/*' --exclude='./etc/update-motd.d*' \
        --exclude='changelog*' --exclude='NEWS*' --exclude='README*'
    # Where scanners of images look for the packages of one without a package manager.
    dpkg-deb --field "$package" > "$root/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
done

# What a server never imports, and modules whose libraries stay out.
library=$root/usr/lib/python3.11
rm -r "$library/distutils" "$library/ensurepip" "$library/idlelib" "$library/lib2to3" "$library/pydoc_data" \
    "$library/turtledemo" "$library/test" "$library/unittest/test" 2>/dev/null || true
for module in _crypt _curses _curses_panel _dbm _gdbm _sqlite3 _testbuffer _testcapi _testclinic _testimportmultiple \
    _testinternalcapi _testmultiphase _tkinter _xxtestfuzz nis ossaudiodev readline xxlimited xxlimited_35; do
    rm -f "$library/lib-dynload/$module".*.so
done
ln -s python3.11 "$root/usr/bin/python3"
# The file system will be read-only: what is not compiled now is compiled at every start. Sources do not change, so
# their age is not looked at.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$root" "$library"

mkdir -p "$root/etc/ssl/certs" "$root/usr/lib/ssl" "$root/tmp"
chmod 1777 "$root/tmp"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
ln -sf /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
printf '%s\n' 'root:x:0:0:root:/:/usr/sbin/nologin' 'nobody:x:65534:65534:nobody:/:/usr/sbin/nologin' > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' > "$root/etc/group"

rm -r /build/packages /var/lib/apt/lists
apt-get clean
