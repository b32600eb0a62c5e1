/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes that share one limit through a ledger, with any delay, loss and late swap: `make model`
 * has spin look at every interleaving.
 *
 * Checked: the kernel's limits of both nodes are never more than the limit, and in the ledger what
 * is free and held is the limit (assertions).
 *
 * Time is one assumption: who takes from a silent node has waited so long that all which that node
 * has from a request sent before the mark is over. That the waiting is long enough whatever the
 * clocks do is the simulator's to find out (Tools/SimulateNodes). A version is told as whether the
 * ledger has changed since.
 */
#define N 2
#define LIMIT 1

mtype = { none, read, swap };
mtype = { take, give, mark, steal, plain };

/* The ledger. */
byte held[N];
byte free = LIMIT;
bit marked[N];

/* The kernels. */
byte kernel[N];

/* What a node knows: the ledger as it was, and whether it still is. */
bit known[N];
byte knownHeld[N];
byte knownOther[N];
byte knownFree[N];
bit knownMark[N];
bit knownOtherMark[N];
bit fresh[N];
bit doubt[N];
/* Until then it may use what it holds; and whether a mark was made since the request was sent. */
bit valid[N];
bit old[N];

/* The request under way: executed or not, and what a swap does. */
mtype op[N] = none;
bit done[N];
bit succeeded[N];
mtype what[N] = plain;
bit unchanged[N];       /* the version that it expects is still there */
bit sentBefore[N];      /* a mark was made since it was sent */
bit over[N];            /* what it would allow is over by now */
/* Its answer. */
byte answerHeld[N];
byte answerOther[N];
byte answerFree[N];
bit answerMark[N];
bit answerOtherMark[N];
bit answerFresh[N];
/* A swap that nobody waits for any more. */
bit late[N];
mtype lateWhat[N] = plain;
bit lateUnchanged[N];

#define other (1 - i)
#define isKept() assert(kernel[0] + kernel[1] <= LIMIT)
#ifdef TAKES_UNMARKED
#define isSuspected true
#else
#define isSuspected knownOtherMark[i]
#endif
#ifdef USES_MARKED
#define isUsed true
#else
#define isUsed (!knownMark[i])
#endif

inline changed() {
  fresh[0] = 0; fresh[1] = 0;
  unchanged[0] = 0; unchanged[1] = 0;
  lateUnchanged[0] = 0; lateUnchanged[1] = 0;
  answerFresh[0] = 0; answerFresh[1] = 0;
}

/* Each swap of a node removes the mark on it. */
inline apply(kind) {
  changed();
  marked[i] = 0;
  if
  :: kind == take -> free--; held[i]++
  :: kind == give -> free++; held[i]--
  :: kind == mark ->
    marked[other] = 1; old[other] = valid[other];
    sentBefore[other] = (op[other] != none)
  :: kind == steal -> free = free + held[other]; held[other] = 0; marked[other] = 0
  :: kind == plain
  fi;
  assert(free + held[0] + held[1] == LIMIT)
}

inline begin(kind) {
  op[i] = kind; done[i] = 0; succeeded[i] = 0; sentBefore[i] = 0; over[i] = 0
}

inline send(kind) {
  begin(swap); what[i] = kind; unchanged[i] = fresh[i];
#ifdef RAISES_FIRST
  if
  :: kind == take && valid[i] && !doubt[i] && !knownMark[i] -> kernel[i] = knownHeld[i] + 1;
    isKept()
  :: else
  fi
#endif
}

inline learn() {
  known[i] = 1; knownHeld[i] = answerHeld[i]; knownOther[i] = answerOther[i];
  knownFree[i] = answerFree[i]; knownMark[i] = answerMark[i];
  knownOtherMark[i] = answerOtherMark[i]; fresh[i] = answerFresh[i]
}

/* What does not matter is 0, so that fewer states differ. */
inline forget() {
  known[i] = 0; knownHeld[i] = 0; knownOther[i] = 0; knownFree[i] = 0; knownMark[i] = 0;
  knownOtherMark[i] = 0; fresh[i] = 0
}

inline close() {
  op[i] = none; done[i] = 0; succeeded[i] = 0; what[i] = plain; unchanged[i] = 0;
  sentBefore[i] = 0; over[i] = 0; answerHeld[i] = 0; answerOther[i] = 0; answerFree[i] = 0;
  answerMark[i] = 0; answerOtherMark[i] = 0; answerFresh[i] = 0
}

inline answer() {
  answerHeld[i] = held[i]; answerOther[i] = held[other]; answerFree[i] = free;
  answerMark[i] = marked[i]; answerOtherMark[i] = marked[other]; answerFresh[i] = 1
}

inline extend() {
  if
  :: !over[i] -> valid[i] = 1; old[i] = sentBefore[i]
  :: else
  fi
}

active [N] proctype node() {
  byte i = _pid;
  do
  /* Requests. */
  :: atomic { op[i] == none -> forget(); begin(read) }
  :: atomic { op[i] == none && known[i] && knownFree[i] > 0 && !late[i] -> send(take) }
#ifdef GIVES_FIRST
  :: atomic { op[i] == none && known[i] && knownHeld[i] > 0 && !late[i] -> send(give) }
#else
  :: atomic { op[i] == none && known[i] && knownHeld[i] > 0 && kernel[i] < knownHeld[i] && !late[i] ->
      send(give) }
#endif
  :: atomic { op[i] == none && known[i] && (doubt[i] || knownMark[i]) && !late[i] -> send(plain) }
  :: atomic { op[i] == none && known[i] && knownOther[i] > 0 && !knownOtherMark[i] && !late[i] ->
      send(mark) }
  /* Here the wait is over. */
  :: atomic { op[i] == none && known[i] && knownOther[i] > 0 && isSuspected && !late[i] &&
      !(valid[other] && old[other]) ->
      over[other] = (op[other] != none && sentBefore[other]); send(steal) }

  /* The engine. */
  :: atomic { op[i] == read && !done[i] -> done[i] = 1; answer() }
  :: atomic { op[i] == swap && !done[i] ->
      done[i] = 1; succeeded[i] = unchanged[i];
      if
      :: succeeded[i] -> apply(what[i])
      :: else
      fi;
      answer() }
  :: atomic { late[i] ->
      if
      :: lateUnchanged[i] -> apply(lateWhat[i])
      :: else
      fi;
      late[i] = 0; lateUnchanged[i] = 0; lateWhat[i] = plain }

  /* Answers, and none in time. */
  :: atomic { op[i] == read && done[i] ->
      learn();
      if
      :: !doubt[i] && isUsed -> extend()
      :: else
      fi;
      close() }
  :: atomic { op[i] == swap && done[i] ->
      if
      :: succeeded[i] -> doubt[i] = 0; learn(); extend()
      :: else -> forget()
      fi;
      close() }
  :: atomic { op[i] == read -> close(); forget() }
  :: atomic { op[i] == swap && (done[i] || !late[i]) ->
      if
      :: !done[i] && unchanged[i] -> late[i] = 1; lateWhat[i] = what[i]; lateUnchanged[i] = 1
      :: else
      fi;
      close(); forget();
#ifndef FORGETS_DOUBT
      doubt[i] = 1
#endif
    }

  /* The broker: more only of what is known, less at any time, nothing when it is over. */
  :: atomic { known[i] && valid[i] && !doubt[i] && kernel[i] < knownHeld[i] && isUsed &&
      op[i] != swap -> kernel[i] = knownHeld[i]; isKept() }
  :: atomic { kernel[i] > 0 -> kernel[i]-- }
#ifdef NEVER_EXPIRES
  :: atomic { valid[i] -> valid[i] = 0; old[i] = 0 }
#else
  :: atomic { valid[i] -> valid[i] = 0; old[i] = 0; kernel[i] = 0 }
#endif
  od
}
