# shellcheck shell=bash
# For the scripts here that need a compiler, a linker or an emulator that this machine may not have: takes them from Debian
# trixie. Sourced, in the root of the repository. Needs Debian on x86-64, its archive, and either root or user namespaces.
#
# An apt of its own downloads the packages, and they are unpacked into target/debian/root. Commands run there by chroot, with
# private mounts. Nothing is installed on this machine, and `rm -r target/debian` removes everything. All scripts share the
# root; what has been unpacked once is not downloaded again.

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
debian="$target/debian"
root="$debian/root"
shared="$debian/shared" # What the root sees as /shared. A script has its copy of the repository and its builds there.
cargo_home="$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")" # Shared, for the crates that are there already.
mkdir -p "$cargo_home" "$shared"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Runs one step, and says how long it took.
step() {
    local start=$SECONDS
    echo "== $*"
    "$@"
    echo "== $*: $((SECONDS - start)) s"
}

# Runs apt-get with folders of its own. It knows trixie and trixie-backports, and what has been unpacked.
private_apt() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg apt="$debian/apt" mirror
    if [ ! -e "$apt/apt.conf" ]; then
        [ -r "$keyring" ] && [ "$(dpkg --print-architecture)" = amd64 ] || fail "this is not Debian on x86-64"
        mkdir -p "$root" "$apt"/{etc/apt/preferences.d,etc/apt/apt.conf.d,state/lists/partial,cache/archives/partial}
        mirror="$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2> /dev/null || true; } |
            sed -nE 's#^(URIs:|deb( \[.*\])?) +([^ ]+/debian)/?( .*)?$#\3#p' | head -n 1)"
        mirror="${mirror:-http://deb.debian.org/debian}"
        cat > "$apt/etc/apt/sources.list" << END
deb [signed-by=$keyring] $mirror trixie main
deb [arch=amd64 signed-by=$keyring] $mirror trixie-backports main
END
        : > "$apt/status"
        cat > "$apt/apt.conf" << END
Dir "$apt";
Dir::State "state";
Dir::State::status "$apt/status";
Dir::Cache "cache";
APT::Architectures { "amd64"; "i386"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
END
        APT_CONFIG="$apt/apt.conf" apt-get update -qq || { rm -r "$apt" && fail "no list of packages"; }
    fi
    APT_CONFIG="$apt/apt.conf" apt-get -qq -y "$@" > /dev/null
}

# Unpacks these packages of trixie, and all that they depend on, into the root.
unpack() {
    local deb
    private_apt --download-only install base-files bash coreutils dash diffutils findutils grep procps sed tzdata "$@"
    for deb in "$debian"/apt/cache/archives/*.deb; do
        [ -e "$deb" ] || continue
        dpkg -x "$deb" "$root"
        printf '%s\nStatus: install ok installed\n\n' "$(dpkg-deb -f "$deb")" >> "$debian/apt/status"
        rm "$deb"
    done
    # The installation of the packages would make these.
    ln -sf gcc "$root/usr/bin/cc"
    ln -sf dash "$root/usr/bin/sh"
    [ -e "$root/lib32" ] || ln -s usr/lib32 "$root/lib32"
    mkdir -p "$root"/{proc,dev,sys,tmp,shared,cargo,toolchain,etc/ssl}
    touch "$root/etc/resolv.conf"
}

# Copies the files of this repository, without a lock file, to $shared/$1. The dependencies then have the versions that a new
# user of the compiler would get.
copy_tree() {
    rm -rf "${shared:?}/$1/tree"
    mkdir -p "$shared/$1/tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$shared/$1/tree"
}

# in_root NAME [VARIABLE=VALUE]... COMMAND...: runs a command in the root, in $shared/NAME/tree.
in_root() {
    local own=(--mount --propagation private)
    [ "$(id -u)" -eq 0 ] || own+=(--map-root-user)
    # shellcheck disable=SC2016 # The variables are the inner shell's.
    unshare "${own[@]}" bash -euc '
        root=$1 shared=$2 cargo=$3 toolchain=$4 name=$5
        shift 5
        for folder in proc dev etc/ssl; do mount --rbind "/$folder" "$root/$folder"; done
        mount -t tmpfs tmpfs "$root/tmp"
        mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
        mount --bind "$shared" "$root/shared"
        mount --bind "$cargo" "$root/cargo"
        [ ! -d "$toolchain" ] || mount --bind "$toolchain" "$root/toolchain"
        PATH="$PATH:/usr/sbin" exec chroot "$root" /usr/bin/env PATH=/usr/bin:/usr/sbin HOME=/tmp LANG=C.UTF-8 CARGO_HOME=/cargo \
            CARGO_TARGET_DIR="/shared/$name/build" bash -euc "cd /shared/$name/tree; exec env \"\$@\"" bash "$@"
    ' bash "$root" "$shared" "$cargo_home" "$debian/toolchain" "$@"
}

# Makes $debian/toolchain: the default toolchain of this machine with the source of its standard library, which builds that for
# any system (-Zbuild-std, with RUSTC_BOOTSTRAP=1). The source is rustup's if its component rust-src is installed, and that
# of trixie-backports otherwise.
toolchain_with_source() {
    local sysroot version source
    sysroot="$(rustc --print sysroot)"
    version="$(rustc --version | cut -d ' ' -f 2)"
    [ "$(cat "$debian/toolchain/version" 2> /dev/null)" != "$version" ] || return 0
    rm -rf "$debian/toolchain"
    cp -al "$sysroot" "$debian/toolchain" 2> /dev/null || { rm -rf "$debian/toolchain" && cp -a "$sysroot" "$debian/toolchain"; }
    if [ ! -d "$sysroot/lib/rustlib/src/rust/library" ]; then
        private_apt update
        (cd "$debian" && private_apt download "rust-src=$version*") || fail "trixie-backports has no source of Rust $version"
        mkdir -p "$debian/source" "$debian/toolchain/lib/rustlib/src/rust"
        dpkg -x "$debian"/rust-src_*.deb "$debian/source"
        source="$(echo "$debian"/source/usr/src/rustc-*)"
        mv "$source/library" "$debian/toolchain/lib/rustlib/src/rust/"
        rm -r "$debian"/rust-src_*.deb "$debian/source"
    fi
    echo "$version" > "$debian/toolchain/version"
}
