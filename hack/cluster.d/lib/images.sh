# shellcheck shell=bash
# Images of everything that runs in pods, in one OCI layout, made by `assay build` from the programs of build.sh.

# image_name PROGRAM: the tag is the layout's hash, so that no pod ever meets an older image of its name.
image_name() {
    echo "localhost/assay/$1:$IMAGES_HASH"
}

# ensure_images: sets IMAGES (the layout) and IMAGES_HASH. The file `names` in it lists names and digests.
# The hash knows nothing of the `assay` that builds: the same recipe gives the same bytes with every version of it.
ensure_images() {
    IMAGES_HASH=$({
        printf '%s\n' "$TEKTON_BIN" "$CHAINS_BIN" "$COREDNS_BIN" "$DEBIAN" "$DEBIAN_GIT"
        declare -f make_images make_image ko_image git_tree busybox_tree
    } | sha256sum | cut -c1-16)
    IMAGES=$CACHE/images/$IMAGES_HASH
    used "$IMAGES" && return 0
    mkdir -p "$CACHE/images" "$CACHE/tmp"
    (
        flock 8
        [[ -e $IMAGES ]] && exit 0
        assay=$(assay_program)
        say "making images"
        work=$(work_folder images)
        trap 'rm -rf "$work"' EXIT
        make_images "$work"
        name_images "$work/layout"
        mv -T "$work/layout" "$IMAGES"
        forget_unused "$CACHE/images"
    ) 8>"$CACHE/tmp/images.lock"
    [[ -e $IMAGES ]] || die "making images failed"
}

# assay_program: $ASSAY_BIN, or the one of this checkout, built now. It is needed once per machine and version of the images.
assay_program() {
    if [[ -n ${ASSAY_BIN:-} ]]; then
        [[ -x $ASSAY_BIN ]] || die "ASSAY_BIN names $ASSAY_BIN, which is no program"
        echo "$ASSAY_BIN"
        return
    fi
    command -v cargo >/dev/null || die "cargo is not in PATH: set ASSAY_BIN to an \`assay\` program, which makes the cluster's images"
    say "building assay, which makes the images"
    cargo build --quiet --locked --manifest-path "$ROOT/Cargo.toml" --workspace --bin assay \
        --message-format json 2>/dev/null 8>&- | jq -r 'select(.executable) | .executable' | grep . || die "assay cannot be built: cargo build --bin assay"
}

# make_image WORK PROGRAM: the rest of the recipe comes by standard input; the files are below WORK/source.
make_image() {
    local work=$1 program=$2
    {
        printf '%s\n' 'version = 1' 'format-version = 1' 'base = "scratch"' 'platforms = ["linux/amd64"]' 'compression = "none"'
        cat
    } >"$work/$program.toml"
    "$assay" build --source "$work/source" --recipe "$work/$program.toml" --source-date-epoch 0 \
        --to "oci:$work/layout:$program" >/dev/null
}

# ko_image WORK PROGRAM FOLDER [FILES...]: laid out as Tekton's manifests expect it: /ko-app/controller, and not root.
ko_image() {
    local work=$1 program=$2 folder=$3 path=/ko-app/${2#*-}
    shift 3
    cp -l "$folder/$program" "$work/source/$program"
    make_image "$work" "$program" <<TOML
[config]
user = "65532:65532"
entrypoint = ["$path"]
env = {PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ko-app"}
[[layer]]
files = [${*/%/, }{from = "$program", to = "$path"}]
directories = [{path = "/tmp", mode = "1777"}]
TOML
}

make_images() {
    local work=$1 program
    mkdir "$work/source"
    busybox_tree "$work/source/busybox"
    make_image "$work" busybox <<'TOML'
[config]
env = {PATH = "/bin"}
[[layer]]
files = [{from = "busybox", to = "/"}]
directories = [{path = "/tmp", mode = "1777"}, {path = "/root", mode = "0700"}]
TOML
    # The sandbox of a pod only has to exist: busybox under another name sleeps as well as any pause program.
    make_image "$work" pause <<'TOML'
[config]
entrypoint = ["/bin/pause"]
[[layer]]
files = [{from = "pause", to = "/bin/pause"}, {from = "busybox/bin/busybox", to = "/bin/busybox"}]
TOML
    for program in pipeline-{entrypoint,nop,workingdirinit,sidecarlogresults} \
        pipeline-{controller,webhook,events} triggers-{controller,webhook,interceptors,eventlistenersink}; do
        ko_image "$work" "$program" "$TEKTON_BIN"
    done
    git_tree "$work/source/git"
    ko_image "$work" pipeline-resolvers "$TEKTON_BIN" '{from = "git", to = "/"}'
    ko_image "$work" chains-controller "$CHAINS_BIN"
    cp -l "$COREDNS_BIN/coredns" "$work/source/coredns"
    make_image "$work" coredns <<'TOML'
[config]
entrypoint = ["/coredns"]
[[layer]]
files = [{from = "coredns", to = "/coredns"}]
TOML
}

# name_images LAYOUT: tags become the full names that containerd takes from an annotation of its own, and the file `names`.
name_images() {
    jq --arg hash "$IMAGES_HASH" '.manifests[].annotations |= (. + {"io.containerd.image.name":
        "localhost/assay/\(."org.opencontainers.image.ref.name"):\($hash)"})' "$1/index.json" >"$1/index.json.new"
    mv "$1/index.json.new" "$1/index.json"
    jq -r '.manifests[] | .annotations."io.containerd.image.name" + " " + .digest' "$1/index.json" >"$1/names"
}

busybox_tree() {
    local root=$1
    mkdir -p "$root/bin" "$root/etc"
    cp "$DEBIAN/bin/busybox" "$root/bin/busybox"
    local applet
    for applet in $("$root/bin/busybox" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
    # busybox acts as the program it is called as, and `pause` is none of them: a script it is, then.
    printf '#!/bin/busybox sh\ntrap "exit 0" TERM INT\nwhile :; do /bin/busybox sleep 2147483647 & wait $!; done\n' >"$root/../pause"
    chmod 755 "$root/../pause"
}

# git_tree: git, its HTTP helper, and the libraries that these two need, out of Debian's packages.
git_tree() {
    local root=$1 program
    mkdir -p "$root/usr/bin" "$root/usr/lib/git-core" "$root/lib/x86_64-linux-gnu" "$root/lib64" "$root/etc"
    cp "$DEBIAN_GIT/usr/bin/git" "$root/usr/bin/git"
    for program in git-remote-http git-remote-https; do
        cp -L "$DEBIAN_GIT/usr/lib/git-core/$program" "$root/usr/lib/git-core/$program"
    done
    ln -s ../../bin/git "$root/usr/lib/git-core/git"
    # Not from /lib64: its link to the loader would replace the loader itself.
    find "$DEBIAN_GIT" -name '*.so*' \( -type f -o -type l \) ! -path '*/lib64/*' ! -path '*/gconv/*' ! -path '*/engines-*/*' ! -path '*/ossl-modules/*' \
        ! -path '*/audit/*' ! -path '*/sasl2/*' ! -path '*/krb5/*' -exec cp -P {} "$root/lib/x86_64-linux-gnu/" \;
    ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$root/lib64/ld-linux-x86-64.so.2"
    printf 'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n' >"$root/etc/passwd"
}

# ensure_image_store: imports all images, once per machine, into a store that every cluster then starts from.
# Unpacking half a gigabyte takes most of a start; linking what is unpacked takes nothing.
ensure_image_store() {
    IMAGE_STORE=$CACHE/stores/$(printf '%s\n' "$IMAGES_HASH" "$DEBIAN" | sha256sum | cut -c1-16)
    used "$IMAGE_STORE" && return 0
    mkdir -p "$CACHE/stores" "$CACHE/tmp"
    (
        flock 8
        [[ -e $IMAGE_STORE ]] && exit 0
        say "unpacking images"
        work=$(work_folder store)
        sockets=$(mktemp -d /run/assay-store.XXXXXX)
        trap 'kill "$daemon" 2>/dev/null || true; wait; rm -rf "$work" "$sockets"' EXIT
        cat >"$work/config.toml" <<TOML
version = 2
root = "$work/root"
state = "$sockets/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$sockets/containerd.sock"
TOML
        "$DEBIAN/usr/bin/containerd" --config "$work/config.toml" --log-level warn >"$work/log" 2>&1 8>&- &
        daemon=$!
        RUN=$sockets
        wait_until 30 "containerd answers" containerd_ready
        import_images
        kill "$daemon"
        wait "$daemon" || true
        mv -T "$work/root" "$IMAGE_STORE"
        forget_unused "$CACHE/stores"
    ) 8>"$CACHE/tmp/store.lock"
    [[ -e $IMAGE_STORE ]] || die "unpacking images failed"
}

# import_images: names by tag and by digest, since Chains reads an image's digest from its name (`NAME@sha256:…`).
import_images() {
    local name digest
    tar -C "$IMAGES" -c oci-layout index.json blobs | ctr images import - >/dev/null
    while read -r name digest; do
        ctr images tag --force "$name" "${name%:*}@$digest" >/dev/null
    done <"$IMAGES/names"
}

# place_images: the store's files are linked, as nothing ever changes them; its two databases are copied.
place_images() {
    [[ -e $STATE/containerd ]] && return 0
    cp -al "$IMAGE_STORE" "$STATE/containerd.new" 2>/dev/null || {
        rm -rf "$STATE/containerd.new"
        cp -a "$IMAGE_STORE" "$STATE/containerd.new"
    }
    local database
    while read -r database; do
        cp --remove-destination "$IMAGE_STORE/$database" "$STATE/containerd.new/$database"
    done < <(cd "$IMAGE_STORE" && find . -name '*.db')
    mv "$STATE/containerd.new" "$STATE/containerd"
    echo "$IMAGES_HASH" >"$STATE/images"
}

# renew_images: a cluster that started from older images gets the present ones beside them.
renew_images() {
    [[ $(<"$STATE/images") == "$IMAGES_HASH" ]] && return 0
    import_images
    echo "$IMAGES_HASH" >"$STATE/images"
}
