# shellcheck shell=bash
# Images of everything that runs in pods, in one OCI layout, made from the binaries of build.sh.

# image_name PROGRAM: the tag is the layout's hash, so that no pod ever meets an older image of its name.
image_name() {
    echo "localhost/assay/$1:$IMAGES_HASH"
}

# ensure_images: sets IMAGES (the layout) and IMAGES_HASH. The file `names` in it lists names and digests.
ensure_images() {
    IMAGES_HASH=$({
        printf '%s\n' "$TEKTON_BIN" "$CHAINS_BIN" "$COREDNS_BIN" "$TOOLBOX_BIN" "$DEBIAN" "$DEBIAN_GIT"
        declare -f make_images make_image ko_image git_tree busybox_tree
    } | sha256sum | cut -c1-16)
    IMAGES=$CACHE/images/$IMAGES_HASH
    [[ -e $IMAGES ]] && return 0
    mkdir -p "$CACHE/images" "$CACHE/tmp"
    (
        flock 8
        [[ -e $IMAGES ]] && exit 0
        say "making images"
        work=$(work_folder images)
        trap 'rm -rf "$work"' EXIT
        mkdir "$work/layout"
        make_images "$work" >"$work/layout/names"
        mv -T "$work/layout" "$IMAGES"
    ) 8>"$CACHE/tmp/images.lock"
    [[ -e $IMAGES ]] || die "making images failed"
}

make_image() {
    local work=$1 program=$2
    shift 2
    "$TOOLBOX_BIN/toolbox" image -layout "$work/layout" -name "$(image_name "$program")" "$@"
}

# ko_image WORK PROGRAM FOLDER [MORE...]: laid out as Tekton's manifests expect it: /ko-app/controller, and not root.
ko_image() {
    local work=$1 program=$2 folder=$3 path=/ko-app/${2#*-}
    shift 3
    make_image "$work" "$program" -user 65532:65532 -entrypoint "$path" "$@" "$folder/$program=$path"
}

make_images() {
    local work=$1 program
    busybox_tree "$work/busybox"
    # The sandbox of a pod only has to exist: busybox under another name sleeps as well as any pause program.
    make_image "$work" busybox "$work/busybox=/"
    make_image "$work" pause -entrypoint /bin/pause "$work/pause=/bin/pause" "$work/busybox/bin/busybox=/bin/busybox"
    for program in pipeline-{entrypoint,nop,workingdirinit,sidecarlogresults} \
        pipeline-{controller,webhook,events} triggers-{controller,webhook,interceptors,eventlistenersink}; do
        ko_image "$work" "$program" "$TEKTON_BIN"
    done
    git_tree "$work/git"
    ko_image "$work" pipeline-resolvers "$TEKTON_BIN" "$work/git=/"
    ko_image "$work" chains-controller "$CHAINS_BIN"
    make_image "$work" coredns -entrypoint /coredns "$COREDNS_BIN/coredns=/coredns"
}

busybox_tree() {
    local root=$1
    mkdir -p "$root/bin" "$root/etc" "$root/root"
    mkdir -m 1777 "$root/tmp"
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
    mkdir -m 1777 "$root/tmp"
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
    [[ -e $IMAGE_STORE ]] && return 0
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
