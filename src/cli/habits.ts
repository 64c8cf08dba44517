// SPDX-License-Identifier: Apache-2.0
/**
 * habits: what people type who come from docker, ctr, nerdctl or crictl, and what does it here. A hint and no
 * more: nothing is carried out under another name. Pure.
 */
import { nearest } from '../config/nearest.ts'

const CONTAINERS = 'pods and containers belong to the kubelet'

const hints: Readonly<Record<string, string>> = {
  attach: 'kubectl attach does that',
  build: 'gantry builds no images: use buildah or BuildKit, then gantry load',
  commit: 'not offered: build an image, then gantry load',
  compose: 'not offered: kubectl apply does that',
  container: `${CONTAINERS}: gantry inspect and gantry diff look at them, crictl ps lists them`,
  containers: `${CONTAINERS}: gantry inspect and gantry diff look at them, crictl ps lists them`,
  content: 'blobs are not kept apart from images: gantry images, gantry inspect',
  cp: 'kubectl cp does that',
  create: `${CONTAINERS}: kubectl run, or crictl create`,
  df: 'gantry status shows what images take',
  docker: 'leave the word out: gantry images, gantry pull, …',
  events: 'kubectl get events shows them',
  exec: 'kubectl exec or crictl exec does that',
  export: 'for images: gantry save',
  image:
    'gantry has no groups of commands: gantry images, pull, push, tag, rmi, save, load, inspect, history, prune',
  import: 'for images: gantry load',
  info: 'gantry status, or gantry doctor',
  inspecti: 'gantry inspect --type=image',
  inspectp: 'gantry inspect --type=pod',
  kill: `${CONTAINERS}: kubectl delete pod, or crictl stop`,
  logs: 'kubectl logs or crictl logs does that',
  ls: 'gantry images lists images, crictl ps containers',
  network: 'networks are those of the CNI: gantry doctor tells of them',
  pods: 'crictl pods lists them; gantry inspect looks at one',
  port: 'kubectl port-forward; gantry inspect shows the port mappings of a pod',
  ps: 'crictl ps lists containers; gantry status counts them',
  rename: 'a container keeps its name; for an image: gantry tag, then gantry rmi',
  restart: `${CONTAINERS}: kubectl rollout restart`,
  rm: 'gantry rmi removes images; containers: kubectl delete pod, or crictl rm',
  run: `${CONTAINERS}: kubectl run, or crictl run`,
  runp: `${CONTAINERS}: crictl runp`,
  search: 'not offered: registries have their own search',
  start: 'gantry serve starts the daemon; containers: crictl start',
  stop: `${CONTAINERS}: kubectl delete pod, or crictl stop`,
  system: 'gantry status shows what images take, gantry prune removes what nothing needs',
  volume: 'volumes are those of the kubelet',
}

/** Words behind a command that belong to groups of commands elsewhere, as `images ls`. */
const groups: ReadonlySet<string> = new Set(['images', 'image'])
const inGroup: Readonly<Record<string, string>> = {
  ls: 'images',
  list: 'images',
  pull: 'pull',
  push: 'push',
  rm: 'rmi',
  remove: 'rmi',
  delete: 'rmi',
  tag: 'tag',
  export: 'save',
  save: 'save',
  import: 'load',
  load: 'load',
  inspect: 'inspect',
  history: 'history',
  prune: 'prune',
}

/** What does here what `gantry WORD NEXT` would do elsewhere; undefined if that is no habit. */
export function habit(word: string, next: string | undefined): string | undefined {
  const meant =
    groups.has(word) && next !== undefined && Object.hasOwn(inGroup, next) ? inGroup[next] : undefined
  if (meant !== undefined) return `gantry ${meant}`
  return Object.hasOwn(hints, word) ? hints[word] : undefined
}

/** The sentence for a word that is no command. */
export function unknownSentence(
  shown: string,
  given: { readonly word: string; readonly next: string | undefined; readonly known: readonly string[] },
): string {
  const hint = habit(given.word, given.next)
  if (hint !== undefined) return `there is no command "${shown}"; ${hint}`
  const near = nearest(given.word, given.known)
  return `there is no command "${shown}"${near === undefined ? '' : `; did you mean ${near}?`}`
}
