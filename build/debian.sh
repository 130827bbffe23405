# Debian's packages through the machine's own apt: downloaded and unpacked, never installed, so nothing is started and
# root is not needed. apt verifies them against the distribution's signing keys. Sourced, not run.

debian_problem=''
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the host's own mirror of the main archive: the one that offers component main, and is not the security archive.
debian_mirror() {
  local mirror
  mirror="$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2> /dev/null |
    awk '$2 == "main" && $3 == "Debian" && $4 == "Debian" && !found { print $1; found = 1 }')"
  if [[ -z "$mirror" ]]; then
    # Before the first `apt-get update` apt has no index; it can still say where it would fetch one from.
    mirror="$(apt-get update --print-uris 2> /dev/null |
      sed -n "s|^'\(.*/debian/*\)/dists/[^/]*/main/binary-.*|\1|p" | awk 'NR == 1')"
  fi
  [[ -n "$mirror" ]] && echo "$mirror"
}

# debian_open SUITE WORK: reads the suite's index into WORK, apart from the machine's own; afterwards debian_options are
# what apt-get and apt-cache must be given to see it. On failure debian_problem says why.
debian_open() {
  local suite=$1 work=$2 program mirror
  for program in apt-get apt-cache dpkg dpkg-deb; do
    command -v "$program" > /dev/null || { debian_problem="$program is not here: packages can only be taken from a Debian-like host's archive."; return 1; }
  done
  [[ -r "$debian_keyring" ]] || { debian_problem="$debian_keyring is missing (package debian-archive-keyring): the packages could not be verified."; return 1; }
  mirror="$(debian_mirror)" || { debian_problem='apt knows no mirror of the Debian archive.'; return 1; }
  debian_architecture="$(dpkg --print-architecture)"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/deb"
  echo "deb [arch=$debian_architecture signed-by=$debian_keyring] $mirror $suite main" > "$work/sources.list"
  debian_options=(
    -q
    -o Dir::Etc::sourcelist="$work/sources.list"
    -o Dir::Etc::sourceparts=-
    -o Dir::State::Lists="$work/lists"
    -o Dir::Cache="$work/cache"
    -o Acquire::Languages=none
    -o Acquire::Retries=3
  )
  # apt's own sandbox account cannot write into this directory.
  (( EUID != 0 )) || debian_options+=(-o APT::Sandbox::User=root)
  apt-get "${debian_options[@]}" update >&2 || { debian_problem="apt could not read suite $suite of $mirror."; return 1; }
}

# debian_unpack WORK TARGET PACKAGE...: downloads the packages and unpacks them into TARGET.
debian_unpack() {
  local work=$1 target=$2 package
  shift 2
  (cd "$work/deb" && apt-get "${debian_options[@]}" download "${@/%/:$debian_architecture}" >&2) ||
    { debian_problem="apt could not download $*."; return 1; }
  for package in "$work"/deb/*.deb; do dpkg-deb -x "$package" "$target" || { debian_problem="$package could not be unpacked."; return 1; }; done
}
