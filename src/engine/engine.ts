// SPDX-License-Identifier: Apache-2.0
/** Puts the verbs of the engine behind its interface. Nothing is decided here but what is visible to clients. */
import { Fault } from '../base/fault.ts'
import { type Container, containerVisible } from '../model/container.ts'
import { clip } from '../model/ids.ts'
import { type Pod, podVisible } from '../model/pod.ts'
import { createContainer } from './containers/create.ts'
import { execSync } from './containers/exec-sync.ts'
import { removeContainer } from './containers/remove.ts'
import { attach, exec } from './containers/session.ts'
import { startContainer } from './containers/start.ts'
import { stopContainer } from './containers/stop.ts'
import { reopenLog, updateContainer } from './containers/update.ts'
import type { Context } from './context.ts'
import { containerDetails, podDetails } from './details.ts'
import { events } from './events.ts'
import type { Images } from './images/images.ts'
import type { Engine } from './index.ts'
import { portForward } from './pods/port-forward.ts'
import { runPod } from './pods/run.ts'
import { removePod, stopPod } from './pods/stop.ts'
import { updatePod } from './pods/update.ts'
import { stats } from './stats/collect.ts'

function visible<T extends Pod | Container>(found: T, isVisible: (value: T) => boolean, what: string): T {
  if (isVisible(found)) return found
  throw new Fault('not-found', `${what} "${clip(found.record.id)}" is ${found.state.phase}`)
}

export function engine(ctx: Context, images: Images, startProblems: readonly string[]): Engine {
  const { catalog } = ctx
  return {
    pods: {
      run: (scope, command) => runPod(ctx, scope, command),
      stop: (scope, id) => stopPod(ctx, scope, id),
      remove: (scope, id) => removePod(ctx, scope, id),
      get: (id) => visible(catalog.pod(id), podVisible, 'pod sandbox'),
      list: () => [...catalog.pods.byId.values()].filter(podVisible),
      containersOf: (pod) => catalog.containersOf(pod.record.id).filter(containerVisible),
      details: (pod) => podDetails(ctx, pod),
      portForward: (scope, command) => portForward(ctx, scope, command),
      update: (scope, command) => updatePod(ctx, scope, command),
    },
    containers: {
      create: (scope, command) => createContainer(ctx, scope, command),
      start: (scope, id) => startContainer(ctx, scope, id),
      stop: (scope, command) => stopContainer(ctx, scope, command),
      remove: (scope, id) => removeContainer(ctx, scope, id),
      get: (id) => visible(catalog.container(id), containerVisible, 'container'),
      list: () => [...catalog.containers.byId.values()].filter(containerVisible),
      details: (c) => containerDetails(ctx, c),
      update: (scope, command) => updateContainer(ctx, scope, command),
      execSync: (scope, command) => execSync(ctx, scope, command),
      reopenLog: (scope, id) => reopenLog(ctx, scope, id),
      exec: (scope, command) => exec(ctx, scope, command),
      attach: (scope, command) => attach(ctx, scope, command),
    },
    images,
    events: events({ catalog, clock: ctx.host.clock }),
    stats: stats(ctx),
    facts: ctx.host.facts,
    defaultHandler: ctx.options.defaultHandler,
    async health(scope) {
      return { runtimeReady: true, network: await ctx.host.network.status(scope) }
    },
    problems: () => [...startProblems, ...images.problems(), ...leftovers(ctx)],
    work: () => ({ locks: ctx.locks.held(), joined: ctx.joins.size }),
  }
}

function leftovers(ctx: Context): readonly string[] {
  const all = [...ctx.catalog.pods.byId.values(), ...ctx.catalog.containers.byId.values()]
  return all.flatMap(({ record, state }) =>
    state.phase === 'leftover' ? [`${record.id.slice(0, 13)} waits to be cleaned up: ${state.why}`] : [],
  )
}
