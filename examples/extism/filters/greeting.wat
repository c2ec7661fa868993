;; An Extism plugin by hand: every request gets the header `x-greeting`, whose value is the configuration's `greeting`.
;;   wat2wasm greeting.wat
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (memory 1)
  (data (i32.const 0) "greeting")
  (data (i32.const 16) "{\"headers\":{\"set\":{\"x-greeting\":\"")
  (data (i32.const 64) "\"}}}")

  ;; Copies bytes of this module's memory to a block.
  (func $copy (param $to i64) (param $from i32) (param $count i32)
    (local $i i32)
    (if (i32.eqz (local.get $count)) (then (return)))
    (loop $next
      (call $store
        (i64.add (local.get $to) (i64.extend_i32_u (local.get $i)))
        (i32.load8_u (i32.add (local.get $from) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $count)))))

  (func (export "on_request") (result i32)
    (local $key i64) (local $value i64) (local $size i64) (local $out i64) (local $i i64)
    (local.set $key (call $alloc (i64.const 8)))
    (call $copy (local.get $key) (i32.const 0) (i32.const 8))
    (local.set $value (call $config (local.get $key)))
    ;; Without a configuration nothing is changed.
    (if (i64.eqz (local.get $value)) (then (return (i32.const 0))))
    (local.set $size (call $length (local.get $value)))
    (local.set $out (call $alloc (i64.add (local.get $size) (i64.const 37))))
    (call $copy (local.get $out) (i32.const 16) (i32.const 33))
    (loop $next
      (call $store
        (i64.add (i64.add (local.get $out) (i64.const 33)) (local.get $i))
        (call $load (i64.add (local.get $value) (local.get $i))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (local.get $size))))
    (call $copy (i64.add (local.get $out) (i64.add (i64.const 33) (local.get $size))) (i32.const 64) (i32.const 4))
    (call $output (local.get $out) (i64.add (local.get $size) (i64.const 37)))
    (i32.const 0)))
