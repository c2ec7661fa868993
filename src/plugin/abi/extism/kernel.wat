;; The memory that Extism plugins share with their host: a bump allocator, the input, the output and the error of a call.
;; `node scripts/build-extism-kernel.ts` makes kernel-bytes.ts of it.
;;
;; A guest calls these functions directly, Wasm to Wasm. Each takes constant time, which the meter's price of an import
;; covers; zeroing and growing are charged to the guest by the function at index 0 of the table: (units) -> units left.
;;
;; Words at the start of the memory, which guests cannot reach (kernel.ts, WORD):
;;    0 end of the allocated bytes    4 end of the bytes that were ever written
;;    8 input offset                 12 input length
;;   16 output offset, 0: not set    20 output length
;;   24 handle of the error, or 0    28 what went wrong (kernel.ts, PROBLEM)
;;   32 the offset that was wrong, i64
;; A block is its size, its own offset (0: freed), then its bytes, at a multiple of 8.
(module $sluice-extism-kernel
  (import "host" "memory" (memory 1))
  (table (export "guest") 1 funcref)
  (type $charge (func (param i32) (result i32)))

  (func $charge (param $units i32)
    (if (i32.lt_s (call_indirect (type $charge) (local.get $units) (i32.const 0)) (i32.const 0)) (then unreachable)))

  (func $fail (param $problem i32) (param $at i64)
    (i32.store (i32.const 28) (local.get $problem))
    (i64.store (i32.const 32) (local.get $at))
    unreachable)

  ;; Room for bytes up to `end`. 0: the memory cannot grow.
  (func $room (param $end i32) (param $charges i32) (result i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16)) (memory.size)))
    (if (i32.le_s (local.get $pages) (i32.const 0)) (then (return (i32.const 1))))
    (if (local.get $charges)
      (then (call $charge (i32.add (i32.const 1000) (i32.mul (local.get $pages) (i32.const 1024))))))
    (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
      (then
        (i32.store (i32.const 28) (i32.const 5))
        (return (i32.const 0))))
    (i32.const 1))

  ;; The handle of a new block; 0 when there is no room. `size` is from 1 to 2^30.
  (func $allocate (export "allocate") (param $size i32) (param $clears i32) (result i32)
    (local $at i32) (local $end i32) (local $dirty i32)
    (local.set $at (i32.add (i32.load (i32.const 0)) (i32.const 8)))
    (local.set $end (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (if (i32.eqz (call $room (local.get $end) (i32.const 1))) (then (return (i32.const 0))))
    (local.set $dirty (i32.load (i32.const 4)))
    (if (local.get $clears)
      (then
        (if (i32.gt_u (local.get $dirty) (local.get $at))
          (then
            (if (i32.gt_u (local.get $dirty) (local.get $end)) (then (local.set $dirty (local.get $end))))
            (local.set $dirty (i32.sub (local.get $dirty) (local.get $at)))
            (if (i32.gt_u (local.get $dirty) (i32.const 256))
              (then (call $charge (i32.shr_u (local.get $dirty) (i32.const 8)))))
            (memory.fill (local.get $at) (i32.const 0) (local.get $dirty))))))
    (if (i32.gt_u (local.get $end) (i32.load (i32.const 4))) (then (i32.store (i32.const 4) (local.get $end))))
    (i32.store (i32.const 0) (local.get $end))
    (i32.store (i32.sub (local.get $at) (i32.const 8)) (local.get $size))
    (i32.store (i32.sub (local.get $at) (i32.const 4)) (local.get $at))
    (local.get $at))

  ;; Shortens the last block; 0: frees it.
  (func (export "resize") (param $at i32) (param $size i32)
    (if (i32.eqz (local.get $size))
      (then
        (i32.store (i32.sub (local.get $at) (i32.const 4)) (i32.const 0))
        (i32.store (i32.const 0) (i32.sub (local.get $at) (i32.const 8)))
        (return)))
    (i32.store (i32.sub (local.get $at) (i32.const 8)) (local.get $size))
    (i32.store
      (i32.const 0)
      (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8)))))

  ;; The size of the block with that handle; -1: there is none.
  (func $size (export "size") (param $handle i64) (result i32)
    (local $at i32)
    (if (i64.lt_u (local.get $handle) (i64.const 72)) (then (return (i32.const -1))))
    (if (i64.gt_u (local.get $handle) (i64.extend_i32_u (i32.load (i32.const 0)))) (then (return (i32.const -1))))
    (local.set $at (i32.wrap_i64 (local.get $handle)))
    (if (i32.ne (i32.load (i32.sub (local.get $at) (i32.const 4))) (local.get $at)) (then (return (i32.const -1))))
    ;; A guest may have written over the size.
    (if (i32.gt_u
          (i32.load (i32.sub (local.get $at) (i32.const 8)))
          (i32.sub (i32.load (i32.const 0)) (local.get $at)))
      (then (return (i32.const -1))))
    (i32.load (i32.sub (local.get $at) (i32.const 8))))

  ;; Begins a call with an input of `length` bytes, already written at 72.
  (func (export "begin") (param $length i32)
    (i32.store (i32.const 0) (i32.const 64))
    (memory.fill (i32.const 8) (i32.const 0) (i32.const 32))
    (if (i32.eqz (local.get $length)) (then (return)))
    (i32.store (i32.const 8) (call $allocate (local.get $length) (i32.const 0)))
    (i32.store (i32.const 12) (local.get $length)))

  ;; Makes room for an input of at most `length` bytes, before the call has fuel. 0: the memory cannot grow.
  (func (export "reserve") (param $length i32) (result i32)
    (call $room (i32.add (i32.const 80) (local.get $length)) (i32.const 0)))

  (func (export "alloc") (param $size i64) (result i64)
    (if (i64.eqz (local.get $size)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $size) (i64.const 0x40000000))
      (then
        (i32.store (i32.const 28) (i32.const 5))
        (return (i64.const 0))))
    (i64.extend_i32_u (call $allocate (i32.wrap_i64 (local.get $size)) (i32.const 1))))

  ;; The last block is used again at once, others when the next call begins.
  (func (export "free") (param $handle i64)
    (local $size i32) (local $at i32)
    (local.set $size (call $size (local.get $handle)))
    (if (i32.lt_s (local.get $size) (i32.const 0)) (then (return)))
    (local.set $at (i32.wrap_i64 (local.get $handle)))
    (i32.store (i32.sub (local.get $at) (i32.const 4)) (i32.const 0))
    (if (i32.eq (local.get $at) (i32.load (i32.const 8))) (then (i32.store (i32.const 12) (i32.const 0))))
    (if (i32.eq (local.get $at) (i32.load (i32.const 24))) (then (i32.store (i32.const 24) (i32.const 0))))
    (if (i32.eq
          (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8)))
          (i32.load (i32.const 0)))
      (then (i32.store (i32.const 0) (i32.sub (local.get $at) (i32.const 8))))))

  (func $length (param $handle i64) (result i64)
    (local $size i32)
    (local.set $size (call $size (local.get $handle)))
    (if (i32.lt_s (local.get $size) (i32.const 0)) (then (return (i64.const 0))))
    (i64.extend_i32_u (local.get $size)))
  (export "length" (func $length))
  (export "length_unsafe" (func $length))

  ;; The address of so many bytes that lie inside what is allocated.
  (func $inside (param $offset i64) (param $bytes i64) (result i32)
    (if (i32.or
          (i64.lt_u (local.get $offset) (i64.const 64))
          (i64.gt_u
            (local.get $offset)
            (i64.sub (i64.extend_i32_u (i32.load (i32.const 0))) (local.get $bytes))))
      (then (call $fail (i32.const 1) (local.get $offset))))
    (i32.wrap_i64 (local.get $offset)))

  (func (export "load_u8") (param $offset i64) (result i32)
    (i32.load8_u (call $inside (local.get $offset) (i64.const 1))))
  (func (export "load_u64") (param $offset i64) (result i64)
    (i64.load (call $inside (local.get $offset) (i64.const 8))))
  (func (export "store_u8") (param $offset i64) (param $value i32)
    (i32.store8 (call $inside (local.get $offset) (i64.const 1)) (local.get $value)))
  (func (export "store_u64") (param $offset i64) (param $value i64)
    (i64.store (call $inside (local.get $offset) (i64.const 8)) (local.get $value)))

  (func (export "input_length") (result i64)
    (i64.load32_u (i32.const 12)))
  (func (export "input_offset") (result i64)
    (i64.load32_u (i32.const 8)))

  ;; The address of so many bytes of the input.
  (func $input (param $offset i64) (param $bytes i64) (result i32)
    (if (i32.or
          (i64.gt_u (local.get $bytes) (i64.load32_u (i32.const 12)))
          (i64.gt_u (local.get $offset) (i64.sub (i64.load32_u (i32.const 12)) (local.get $bytes))))
      (then (call $fail (i32.const 2) (local.get $offset))))
    (i32.add (i32.load (i32.const 8)) (i32.wrap_i64 (local.get $offset))))
  (func (export "input_load_u8") (param $offset i64) (result i32)
    (i32.load8_u (call $input (local.get $offset) (i64.const 1))))
  (func (export "input_load_u64") (param $offset i64) (result i64)
    (i64.load (call $input (local.get $offset) (i64.const 8))))

  (func (export "output_set") (param $offset i64) (param $length i64)
    (if (i64.eqz (local.get $length))
      (then
        ;; Empty, but set.
        (i32.store (i32.const 16) (i32.const 64))
        (i32.store (i32.const 20) (i32.const 0))
        (return)))
    (if (i32.or
          (i64.gt_u (local.get $length) (i64.extend_i32_u (i32.load (i32.const 0))))
          (i32.or
            (i64.lt_u (local.get $offset) (i64.const 64))
            (i64.gt_u
              (local.get $offset)
              (i64.sub (i64.extend_i32_u (i32.load (i32.const 0))) (local.get $length)))))
      (then (call $fail (i32.const 3) (local.get $offset))))
    (i32.store (i32.const 16) (i32.wrap_i64 (local.get $offset)))
    (i32.store (i32.const 20) (i32.wrap_i64 (local.get $length))))

  (func (export "error_set") (param $handle i64)
    (if (i64.ne (local.get $handle) (i64.const 0))
      (then
        (if (i32.lt_s (call $size (local.get $handle)) (i32.const 0))
          (then (call $fail (i32.const 4) (local.get $handle))))))
    (i32.store (i32.const 24) (i32.wrap_i64 (local.get $handle))))
  (func (export "error_get") (result i64)
    (i64.load32_u (i32.const 24)))

  ;; JSON of message heads. The host copies a head's bytes to `raw` and a table of offsets to `table`, both beyond the room
  ;; for the input; `clear` removes them before the guest runs. Each function writes at `to` and returns the end.

  ;; The bytes [from, end) as a string: bytes above ASCII as the characters U+0080 to U+00FF. `lowers`: in lower case.
  ;; Writes up to 16 bytes beyond the end.
  (func $string (param $from i32) (param $end i32) (param $to i32) (param $lowers i32) (result i32)
    (local $bytes v128) (local $count i32) (local $byte i32)
    (i32.store8 (local.get $to) (i32.const 34))
    (local.set $to (i32.add (local.get $to) (i32.const 1)))
    (block $done
      (loop $next
        (local.set $count (i32.sub (local.get $end) (local.get $from)))
        (br_if $done (i32.le_s (local.get $count) (i32.const 0)))
        (local.set $bytes (v128.load (local.get $from)))
        (if (local.get $lowers)
          (then
            (local.set $bytes
              (v128.or
                (local.get $bytes)
                (v128.and
                  (i8x16.lt_u
                    (i8x16.sub (local.get $bytes) (i8x16.splat (i32.const 65)))
                    (i8x16.splat (i32.const 26)))
                  (i8x16.splat (i32.const 32)))))))
        (v128.store (local.get $to) (local.get $bytes))
        ;; How many bytes need no escape: the signed comparison finds control characters and bytes above ASCII.
        (local.set $count
          (i32.ctz
            (i32.or
              (i8x16.bitmask
                (v128.or
                  (i8x16.lt_s (local.get $bytes) (i8x16.splat (i32.const 32)))
                  (v128.or
                    (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 34)))
                    (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 92))))))
              (select
                (i32.const 0x10000)
                (i32.shl (i32.const 1) (local.get $count))
                (i32.gt_u (local.get $count) (i32.const 16))))))
        (local.set $from (i32.add (local.get $from) (local.get $count)))
        (local.set $to (i32.add (local.get $to) (local.get $count)))
        (br_if $next (i32.eq (local.get $count) (i32.const 16)))
        (br_if $done (i32.eq (local.get $from) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $to (call $escape (local.get $byte) (local.get $to)))
        (br $next)))
    (i32.store8 (local.get $to) (i32.const 34))
    (i32.add (local.get $to) (i32.const 1)))

  (func $escape (param $byte i32) (param $to i32) (result i32)
    (if (i32.ge_u (local.get $byte) (i32.const 128))
      (then
        (i32.store8 (local.get $to) (i32.or (i32.const 0xc0) (i32.shr_u (local.get $byte) (i32.const 6))))
        (i32.store8 offset=1 (local.get $to) (i32.or (i32.const 0x80) (i32.and (local.get $byte) (i32.const 0x3f))))
        (return (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.ge_u (local.get $byte) (i32.const 32))
      (then
        (i32.store8 (local.get $to) (i32.const 92))
        (i32.store8 offset=1 (local.get $to) (local.get $byte))
        (return (i32.add (local.get $to) (i32.const 2)))))
    ;; \u00
    (i32.store (local.get $to) (i32.const 0x3030755c))
    (i32.store8 offset=4 (local.get $to) (i32.add (i32.const 48) (i32.shr_u (local.get $byte) (i32.const 4))))
    (local.set $byte (i32.and (local.get $byte) (i32.const 15)))
    (i32.store8 offset=5
      (local.get $to)
      (i32.add
        (local.get $byte)
        (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $byte) (i32.const 10)))))
    (i32.add (local.get $to) (i32.const 6)))

  ;; The string between two offsets of the table at `at`.
  (func $range (param $to i32) (param $raw i32) (param $at i32) (param $lowers i32) (result i32)
    (call $string
      (i32.add (local.get $raw) (i32.load (local.get $at)))
      (i32.add (local.get $raw) (i32.load offset=4 (local.get $at)))
      (local.get $to)
      (local.get $lowers)))

  ;; `[["name","value"],…]` of a table of `count` fields: where name and value begin and end.
  (func $fields (export "fields") (param $to i32) (param $raw i32) (param $table i32) (param $count i32) (result i32)
    (i32.store8 (local.get $to) (i32.const 91))
    (local.set $to (i32.add (local.get $to) (i32.const 1)))
    (if (local.get $count)
      (then
        (loop $next
          (i32.store8 (local.get $to) (i32.const 91))
          (local.set $to
            (call $range
              (i32.add (local.get $to) (i32.const 1)) (local.get $raw) (local.get $table) (i32.const 1)))
          (i32.store8 (local.get $to) (i32.const 44))
          (local.set $to
            (call $range
              (i32.add (local.get $to) (i32.const 1))
              (local.get $raw)
              (i32.add (local.get $table) (i32.const 8))
              (i32.const 0)))
          ;; `],`, whose comma is overwritten after the last one
          (i32.store16 (local.get $to) (i32.const 0x2c5d))
          (local.set $to (i32.add (local.get $to) (i32.const 2)))
          (local.set $table (i32.add (local.get $table) (i32.const 16)))
          (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
        (local.set $to (i32.sub (local.get $to) (i32.const 1)))))
    (i32.store8 (local.get $to) (i32.const 93))
    (local.set $to (i32.add (local.get $to) (i32.const 1)))
    ;; What strings have written beyond their ends.
    (v128.store (local.get $to) (v128.const i64x2 0 0))
    (local.get $to))

  ;; `,"method":…,"authority":…,"path":…,"query":…,"headers":[…]`. The table begins with the four parts.
  (func (export "request") (param $to i32) (param $raw i32) (param $table i32) (param $count i32) (result i32)
    ;; ,"method":
    (v128.store (local.get $to) (v128.const i8x16 44 34 109 101 116 104 111 100 34 58 0 0 0 0 0 0))
    (local.set $to
      (call $range (i32.add (local.get $to) (i32.const 10)) (local.get $raw) (local.get $table) (i32.const 0)))
    ;; ,"authority":
    (v128.store (local.get $to) (v128.const i8x16 44 34 97 117 116 104 111 114 105 116 121 34 58 0 0 0))
    (local.set $to
      (call $range
        (i32.add (local.get $to) (i32.const 13))
        (local.get $raw)
        (i32.add (local.get $table) (i32.const 8))
        (i32.const 0)))
    ;; ,"path":
    (v128.store (local.get $to) (v128.const i8x16 44 34 112 97 116 104 34 58 0 0 0 0 0 0 0 0))
    (local.set $to
      (call $range
        (i32.add (local.get $to) (i32.const 8))
        (local.get $raw)
        (i32.add (local.get $table) (i32.const 16))
        (i32.const 0)))
    (if (i32.load offset=28 (local.get $table))
      (then
        ;; ,"query":
        (v128.store (local.get $to) (v128.const i8x16 44 34 113 117 101 114 121 34 58 0 0 0 0 0 0 0))
        (local.set $to
          (call $range
            (i32.add (local.get $to) (i32.const 9))
            (local.get $raw)
            (i32.add (local.get $table) (i32.const 24))
            (i32.const 0)))))
    ;; ,"headers":
    (v128.store (local.get $to) (v128.const i8x16 44 34 104 101 97 100 101 114 115 34 58 0 0 0 0 0))
    (call $fields
      (i32.add (local.get $to) (i32.const 11))
      (local.get $raw)
      (i32.add (local.get $table) (i32.const 32))
      (local.get $count)))

  (func (export "clear") (param $from i32) (param $end i32)
    (memory.fill (local.get $from) (i32.const 0) (i32.sub (local.get $end) (local.get $from))))
)
